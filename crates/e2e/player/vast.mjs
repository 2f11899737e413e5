// Plays an ad as a player does that is built on Dailymotion's VAST client: `node vast.mjs URL`.
//
// The client is for browsers, where a tracking URL is asked for by an image. Here an image is a
// request, and the program ends when all are answered. It prints what it has seen as JSON.

import { VASTClient, VASTTracker } from '@dailymotion/vast-client';

const [url] = process.argv.slice(2);
const pings = [];

const client = new VASTClient();
const { ads, version } = await client.get(url, { timeout: 30_000 });
const [ad] = ads;
const [creative] = ad.creatives;

globalThis.window = globalThis;
globalThis.Image = class {
  set src(target) {
    pings.push(ping(target));
  }
};

async function ping(target) {
  const answer = await fetch(target);
  return { target, status: answer.status, type: answer.headers.get('content-type') };
}

// One viewer watches the ad and clicks it twice.
const tracker = new VASTTracker(client, ad, creative);
const clickThroughs = [];
tracker.on('clickthrough', (target) => clickThroughs.push(target));
tracker.trackImpression();
tracker.setProgress(5);
tracker.click();
tracker.click();

// A second tracker on the same document says again that the ad was shown.
new VASTTracker(client, ad, creative).trackImpression();

console.log(
  JSON.stringify({
    version,
    title: ad.title,
    adServingId: ad.adServingId,
    duration: creative.duration,
    media: creative.mediaFiles.map(({ fileURL, mimeType, width, height }) => {
      return { fileURL, mimeType, width, height };
    }),
    clickThroughs,
    pings: await Promise.all(pings),
  }),
);
