//! `adctl ads` against real Postgres and Redis.

use click_store::{ActiveAdsCache, Redis, RedisLimits};
use serde_json::json;

use crate::harness::{PATIENCE, Said, Test, file};

const FILE: &str = "id,image_url,target_url\n\
                    1,https://example.com/ad1.jpg,https://example.com/click1\n\
                    2,https://example.com/ad2.jpg,https://example.com/click2\n";

async fn migrated(name: &str) -> Test {
    let test = Test::with_database(name).await;
    test.adctl(&["migrate"]).await.success();
    test
}

async fn add_one(test: &Test) -> Said {
    let image = "https://example.com/ad7.jpg";
    let target = "https://example.com/click7";
    test.adctl(&["ads", "add", "--id", "7", "--image-url", image, "--target-url", target]).await
}

#[tokio::test]
async fn an_ad_is_added_listed_and_switched_off_and_on() {
    let test = migrated("oneAd").await;

    assert_eq!(add_one(&test).await.success(), "1 added, 0 already there");
    assert_eq!(add_one(&test).await.success(), "0 added, 1 already there");
    assert_eq!(test.adctl(&["ads", "deactivate", "7"]).await.success(), "ad 7 is inactive");
    let ad = |active| {
        json!([{
            "id": 7,
            "active": active,
            "title": null,
            "image_url": "https://example.com/ad7.jpg",
            "target_url": "https://example.com/click7",
            "media": null,
        }])
    };
    assert_eq!(test.adctl(&["ads", "list", "--json"]).await.json(), ad(false));
    assert_eq!(test.adctl(&["ads", "activate", "7"]).await.success(), "ad 7 is active");
    assert_eq!(test.adctl(&["ads", "list", "--json"]).await.json(), ad(true));
    let list = test.adctl(&["ads", "list"]).await;
    let words: Vec<_> = list.success().split_whitespace().collect();
    let expected = "AD ACTIVE TITLE IMAGE TARGET VIDEO 7 yes https://example.com/ad7.jpg https://example.com/click7";
    assert_eq!(words.join(" "), expected);
}

#[tokio::test]
async fn a_file_of_ads_can_be_added_again() {
    let test = migrated("adsFile").await;
    add_one(&test).await.success();
    let ads = file(&format!("{FILE}7,https://example.com/other.jpg,https://example.com/other\n"));
    let path = ads.to_str().expect("UTF-8");

    let first = test.adctl(&["ads", "add", "--file", path, "--inactive"]).await;
    let second = test.adctl(&["ads", "add", "--file", path]).await;

    assert_eq!(first.success(), "2 added, 1 already there");
    assert_eq!(second.success(), "0 added, 3 already there");
    let list = test.adctl(&["ads", "list", "--json"]).await.json();
    assert_eq!(list[0]["active"], json!(false));
    assert_eq!(list[2]["image_url"], json!("https://example.com/ad7.jpg"));
}

#[tokio::test]
async fn a_file_with_a_wrong_line_adds_nothing() {
    let test = migrated("badAds").await;

    for (line, problem) in [
        ("3,ftp://example.com/3,https://example.com/3", "line 4: image_url"),
        ("0,https://example.com/3,https://example.com/3", "line 4: id \"0\""),
        ("2,https://example.com/3,https://example.com/3", "line 4: ad 2 stands in line 3 already"),
        ("3,https://example.com/3", "line 4: 2 columns, but the header has 3"),
    ] {
        let ads = file(&format!("{FILE}{line}\n"));
        let said = test.adctl(&["ads", "add", "--file", ads.to_str().expect("UTF-8")]).await;
        assert!(said.failure().contains(problem), "{said:?}");
    }
    assert_eq!(test.adctl(&["ads", "list", "--json"]).await.json(), json!([]));
}

/// A file whose ads 1 and 2 have a title, and ad 1 a video.
const WITH_MEDIA: &str = "\
    id,title,image_url,target_url,media_url,media_type,media_duration,media_size\n\
    1,One & only,https://e.com/1.jpg,https://e.com/1,https://e.com/1.mp4,video/mp4,15s,640x360\n\
    2,Two,https://e.com/2.jpg,https://e.com/2,,,,\n";

#[tokio::test]
async fn an_ad_that_is_there_gets_a_title_and_a_video_where_it_is_asked_for() {
    let test = migrated("adsUpdate").await;
    let (plain, full) = (file(FILE), file(WITH_MEDIA));
    let add = async |path: &std::path::Path, flags: &[&str]| {
        let path = path.to_str().expect("UTF-8").to_owned();
        let said = test.adctl(&[&["ads", "add", "--file", &path], flags].concat()).await;
        said.success().to_owned()
    };
    assert_eq!(add(&plain, &[]).await, "2 added, 0 already there");
    test.adctl(&["ads", "deactivate", "2"]).await.success();

    assert_eq!(add(&full, &[]).await, "0 added, 2 already there");
    let untouched = test.adctl(&["ads", "list", "--json"]).await.json();
    assert_eq!((&untouched[0]["title"], &untouched[0]["media"]), (&json!(null), &json!(null)));

    assert_eq!(add(&full, &["--update"]).await, "2 added or updated");
    let expected = json!([
        {
            "id": 1,
            "active": true,
            "title": "One & only",
            "image_url": "https://e.com/1.jpg",
            "target_url": "https://e.com/1",
            "media": {
                "url": "https://e.com/1.mp4",
                "type": "video/mp4",
                "duration_ms": 15_000,
                "width": 640,
                "height": 360,
            },
        },
        {
            "id": 2,
            "active": false,
            "title": "Two",
            "image_url": "https://e.com/2.jpg",
            "target_url": "https://e.com/2",
            "media": null,
        },
    ]);
    assert_eq!(test.adctl(&["ads", "list", "--json"]).await.json(), expected);
}

#[tokio::test]
async fn an_ad_with_a_video_is_added_by_flags() {
    let test = migrated("adsFlags").await;
    let urls = ["--image-url", "https://e.com/9.jpg", "--target-url", "https://e.com/9"];
    let media = ["--media-url", "https://e.com/9.mp4", "--media-type", "video/mp4"];
    let length = ["--media-duration", "14s500ms", "--media-size", "1280x720"];
    let add = async |flags: &[&[&str]]| {
        test.adctl(&[&["ads", "add", "--id", "9"], &urls[..], &flags.concat()].concat()).await
    };

    let half = add(&[&media]).await;
    assert_eq!(half.code, Some(2));
    assert!(half.err.contains("--media-duration"), "{half:?}");
    assert_eq!(
        add(&[&media, &length, &["--title", "Nine"]]).await.success(),
        "1 added, 0 already there"
    );

    let ad = &test.adctl(&["ads", "list", "--json"]).await.json()[0];
    assert_eq!((&ad["title"], &ad["media"]["duration_ms"]), (&json!("Nine"), &json!(14_500)));
}

#[tokio::test]
async fn a_file_with_half_a_video_adds_nothing() {
    let test = migrated("halfVideo").await;
    for (video, problem) in [
        ("https://e.com/3.mp4,video/mp4,15s,", "line 4: media_size \"\""),
        (",video/mp4,15s,640x360", "line 4: media_url \"\""),
        ("https://e.com/3.mp4,mp4,15s,640x360", "line 4: media_type \"mp4\""),
        ("https://e.com/3.mp4,video/mp4,15,640x360", "line 4: media_duration \"15\""),
    ] {
        let line = format!("3,Three,https://e.com/3.jpg,https://e.com/3,{video}");
        let ads = file(&format!("{WITH_MEDIA}{line}\n"));
        let said = test.adctl(&["ads", "add", "--file", ads.to_str().expect("UTF-8")]).await;
        assert!(said.failure().contains(problem), "{said:?}");
    }
    assert_eq!(test.adctl(&["ads", "list", "--json"]).await.json(), json!([]));
}

#[tokio::test]
async fn an_unknown_ad_cannot_be_switched() {
    let test = migrated("unknownAd").await;

    let said = test.adctl(&["ads", "activate", "7"]).await;

    assert!(said.failure().contains("ad 7 is unknown: `adctl ads list` shows"), "{said:?}");
}

#[tokio::test]
async fn after_a_change_the_cached_list_of_ads_is_gone() {
    let test = migrated("adsCache").await;
    let redis = Redis::connect(
        &test.scope.stack.redis_url.as_str().into(),
        None,
        &test.scope.redis_prefix,
        RedisLimits { command: PATIENCE },
    );
    let cache = ActiveAdsCache::new(redis.expect("a valid URL"));
    cache.put("as it was").await.expect("Redis answers");

    add_one(&test).await.success();

    assert_eq!(cache.get().await.expect("Redis answers"), None);
}

#[tokio::test]
async fn without_redis_a_change_is_made_and_a_warning_given() {
    let test = migrated("adsNoRedis").await;
    add_one(&test).await.success();

    let said = test
        .adctl_with_env(("REDIS_URL", "redis://:secret@127.0.0.1:1"), &["ads", "deactivate", "7"])
        .await;

    assert_eq!(said.success(), "ad 7 is inactive");
    assert!(said.err.contains("Redis at 127.0.0.1:1 does not answer"), "{said:?}");
    assert!(!said.err.contains("secret"), "{said:?}");
}

#[tokio::test]
async fn without_postgres_the_error_says_where_it_was_looked_for() {
    let test = Test::new("adsNoPostgres");

    let said = test
        .adctl_with_env(("DATABASE_URL", "postgres://ads:secret@127.0.0.1:1/ads"), &["ads", "list"])
        .await;

    assert!(said.failure().contains("Postgres at 127.0.0.1:1 cannot be reached"), "{said:?}");
    assert!(said.err.contains("`make run` starts one"), "{said:?}");
    assert!(!said.err.contains("secret"), "{said:?}");
}

#[tokio::test]
async fn without_tables_the_error_says_how_they_are_made() {
    let test = Test::with_database("adsNoTables").await;

    let said = test.adctl(&["ads", "list"]).await;

    assert!(said.failure().contains("`adctl migrate` makes them"), "{said:?}");
}
