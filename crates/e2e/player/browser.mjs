// A viewer in Chromium: sees the ad of page.html, clicks it, and leaves.
//
// `node browser.mjs ANALYTICS INGEST SCREENSHOT`; the page is of an origin of its own. Prints what the
// page said as JSON.

import { createServer } from 'node:http';
import { access, constants, readFile } from 'node:fs/promises';
import puppeteer from 'puppeteer-core';

const [analytics, ingest, screenshot] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? (await chromium());
// As root Chromium refuses to run with its sandbox.
const args = ['--autoplay-policy=no-user-gesture-required', '--disable-gpu', '--no-proxy-server'];
if (process.getuid() === 0) args.push('--no-sandbox');

async function chromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const places = process.env.PATH.split(':').flatMap((folder) => names.map((name) => `${folder}/${name}`));
  for (const place of places) {
    if (await access(place, constants.X_OK).then(() => true, () => false)) return place;
  }
  throw new Error('Chromium is missing: run scripts/install.sh --tests');
}

// Waits until an ad has an impression; the test says what it thinks if it never has.
async function counted(ad) {
  const end = Date.now() + 60_000;
  while (Date.now() < end) {
    const ads = await (await fetch(`${analytics}/ads/analytics`)).json();
    if (ads.some((it) => it.ad_id === ad && it.impressions > 0)) return;
    await new Promise((later) => setTimeout(later, 50));
  }
}

const html = await readFile(new URL('page.html', import.meta.url));
const pages = createServer((_, answer) => {
  answer.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(html);
});
await new Promise((listening) => pages.listen(0, '127.0.0.1', listening));

const browser = await puppeteer.launch({ executablePath, args, headless: true, timeout: 90_000 });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(90_000);
  await page.setViewport({ width: 900, height: 700 });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('requestfailed', (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));

  const leaving = 8;
  const query = new URLSearchParams({ analytics, ingest, leaving });
  await page.goto(`http://127.0.0.1:${pages.address().port}/?${query}`);
  await page.waitForSelector('body[data-shown]');
  await page.click('#ad');
  await page.waitForSelector('body[data-clicked]');
  await page.screenshot({ path: screenshot });
  const said = await page.$$eval('#log li', (lines) => lines.map((line) => line.textContent));
  const failed = errors.length ? errors : null;
  await page.goto('about:blank');
  // A browser that is closed at once may take its last words with it.
  await counted(leaving);
  console.log(JSON.stringify({ said, errors: failed }));
} finally {
  await browser.close();
  pages.close();
}
