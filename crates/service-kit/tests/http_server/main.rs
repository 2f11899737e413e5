//! The HTTP server against clients that are slow, many, rude or unlucky.

mod basics;
mod bodies;
mod crowds;
mod harness;
mod http2;
mod malformed;
mod shutdown;
mod slow;
