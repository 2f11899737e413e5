//! The requests that are measured.

use std::io::Write as _;

use crate::{
    clicks::{Clicks, USER_AGENT},
    load::Requests,
};

/// Every click by itself, each from another viewer behind one proxy.
pub(crate) struct SingleClicks {
    clicks: Clicks,
    body: Vec<u8>,
}

impl SingleClicks {
    pub(crate) fn new(ads: u64, seed: u64) -> Self {
        Self { clicks: Clicks::new(ads, seed), body: Vec::new() }
    }
}

impl Requests for SingleClicks {
    fn write_next(&mut self, out: &mut Vec<u8>) {
        self.body.clear();
        self.clicks.write_json(&mut self.body);
        write_post(out, "/ads/click", &mut self.clicks, &self.body);
    }
}

/// Clicks in batches, as an SDK or a backend sends them.
pub(crate) struct Batches {
    clicks: Clicks,
    events: usize,
    body: Vec<u8>,
}

impl Batches {
    pub(crate) fn new(ads: u64, seed: u64, events: usize) -> Self {
        Self { clicks: Clicks::new(ads, seed), events, body: Vec::new() }
    }
}

impl Requests for Batches {
    fn write_next(&mut self, out: &mut Vec<u8>) {
        self.body.clear();
        for number in 0..self.events {
            self.body.extend_from_slice(if number == 0 { b"[" } else { b"," });
            let start = self.body.len();
            self.clicks.write_json(&mut self.body);
            // Behind the brace that opens it.
            self.body.splice(start + 1..=start, *br#""type":"click","#);
        }
        self.body.push(b']');
        write_post(out, "/ads/events", &mut self.clicks, &self.body);
    }
}

/// The same GET again and again.
#[derive(Clone, Copy)]
pub(crate) struct Get(pub(crate) &'static str);

impl Requests for Get {
    fn write_next(&mut self, out: &mut Vec<u8>) {
        write!(out, "GET {} HTTP/1.1\r\nhost: bench\r\n\r\n", self.0).ok();
    }
}

fn write_post(out: &mut Vec<u8>, path: &str, clicks: &mut Clicks, body: &[u8]) {
    // Writing to memory cannot fail.
    write!(
        out,
        "POST {path} HTTP/1.1\r\nhost: bench\r\nuser-agent: {USER_AGENT}\r\n\
         content-type: application/json\r\nx-forwarded-for: {}\r\ncontent-length: {}\r\n\r\n",
        clicks.address(),
        body.len(),
    )
    .ok();
    out.extend_from_slice(body);
}
