-- What a video player needs of an ad: its title, and the file that it plays.

ALTER TABLE ads
    ADD COLUMN title             text    CHECK (title <> ''),
    ADD COLUMN media_url         text,
    ADD COLUMN media_type        text,
    ADD COLUMN media_duration_ms integer CHECK (media_duration_ms BETWEEN 1 AND 86399999),
    ADD COLUMN media_width       integer CHECK (media_width BETWEEN 1 AND 65535),
    ADD COLUMN media_height      integer CHECK (media_height BETWEEN 1 AND 65535),
    -- A player can do nothing with half of it.
    ADD CONSTRAINT ads_media_whole_or_none CHECK (
        num_nulls(media_url, media_type, media_duration_ms, media_width, media_height) IN (0, 5));
COMMENT ON COLUMN ads.title             IS 'What people call the ad; null where nobody said';
COMMENT ON COLUMN ads.media_url         IS 'The video that is played; null (as the other media columns) where there is none: the ad then has no VAST document';
COMMENT ON COLUMN ads.media_type        IS 'Media type of the video, such as video/mp4';
COMMENT ON COLUMN ads.media_duration_ms IS 'Length of the video in milliseconds, below one day';
COMMENT ON COLUMN ads.media_width       IS 'Width of the video in pixels';
COMMENT ON COLUMN ads.media_height      IS 'Height of the video in pixels';
