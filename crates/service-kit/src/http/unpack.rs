//! Unpacks compressed bodies, in memory that the size of what may come out bounds.

use std::cell::Cell;
use std::io::{self, Read};

use axum::http::{HeaderMap, header};
use brotli_decompressor::reader::DecompressorCustomAlloc;
use brotli_decompressor::{Allocator, StandardAlloc};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;

use super::BodyError;

/// The content codings that requests may have, for `Accept-Encoding`.
pub const CONTENT_CODINGS: &str = "gzip, br, zstd";

/// How a body is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Reads `Content-Encoding`. A body that was packed twice is of no known coding: nobody packs a
    /// small body twice, but for mischief.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        let is = |name| value.as_bytes().trim_ascii().eq_ignore_ascii_case(name);
        let coding = if is(b"identity") {
            Self::Identity
        } else if is(b"gzip") || is(b"x-gzip") {
            Self::Gzip
        } else if is(b"br") {
            Self::Brotli
        } else if is(b"zstd") {
            Self::Zstd
        } else {
            return Err(BodyError::UnknownCoding);
        };
        if values.next().is_some() { Err(BodyError::UnknownCoding) } else { Ok(coding) }
    }

    /// Unpacks a whole body, and stops as soon as more than `max_bytes` come out.
    pub(super) fn unpack(self, packed: Bytes, max_bytes: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Identity => Ok(packed),
            Self::Gzip => read_at_most(max_bytes, MultiGzDecoder::new(packed.as_ref())),
            Self::Brotli => brotli(&packed, max_bytes),
            Self::Zstd => zstd(&packed, max_bytes),
        }
    }
}

fn read_at_most(max_bytes: usize, mut unpacked: impl Read) -> Result<Bytes, BodyError> {
    let mut bytes = Vec::new();
    let one_more = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    unpacked.by_ref().take(one_more).read_to_end(&mut bytes).map_err(BodyError::Corrupt)?;
    if bytes.len() > max_bytes { Err(BodyError::TooLarge { max_bytes }) } else { Ok(bytes.into()) }
}

fn brotli(packed: &[u8], max_bytes: usize) -> Result<Bytes, BodyError> {
    let too_much = Cell::new(false);
    let window = max_bytes.next_power_of_two().max(BROTLI_MAPS) + BROTLI_SLACK;
    let mut memory = Memory { most: window, too_much: &too_much };
    let buffer = memory.alloc_cell(BROTLI_INPUT);
    // The rest is tables, of less than 1 MiB whatever the stream says.
    let alloc = StandardAlloc::default();
    let reader = DecompressorCustomAlloc::new(packed, buffer, memory, alloc, alloc);
    let unpacked = read_at_most(max_bytes, reader);
    if too_much.get() { Err(BodyError::TooLarge { max_bytes }) } else { unpacked }
}

/// What a brotli stream's maps of contexts may take, however little comes out of it.
const BROTLI_MAPS: usize = 16 * 1024;

/// What the decoder has behind its window.
const BROTLI_SLACK: usize = 1024;

/// How much of the packed body the decoder looks at in one go.
const BROTLI_INPUT: usize = 4096;

/// Gives brotli no larger window than an honest stream needs.
///
/// A stream says itself how large its parts are, up to 16 MiB, and nothing comes out before a window
/// that holds one of them is full.
struct Memory<'a> {
    most: usize,
    /// Whether more was asked for.
    too_much: &'a Cell<bool>,
}

impl Allocator<u8> for Memory<'_> {
    type AllocatedMemory = <StandardAlloc as Allocator<u8>>::AllocatedMemory;

    fn alloc_cell(&mut self, len: usize) -> Self::AllocatedMemory {
        if len > self.most {
            // The decoder takes memory that is too small for an error.
            self.too_much.set(true);
            return Self::AllocatedMemory::default();
        }
        StandardAlloc::default().alloc_cell(len)
    }

    fn free_cell(&mut self, memory: Self::AllocatedMemory) {
        drop(memory);
    }
}

/// In one step, into memory of the largest size. Only a stream that is unpacked piece by piece needs a
/// window beside it, which can be of any size that the stream says.
fn zstd(packed: &[u8], max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut bytes = Vec::with_capacity(max_bytes);
    match zstd_safe::decompress(&mut bytes, packed) {
        Ok(_) => Ok(bytes.into()),
        Err(code) if zstd_safe::is_error_kind(code, ZSTD_error_dstSize_tooSmall) => {
            Err(BodyError::TooLarge { max_bytes })
        }
        Err(code) => Err(BodyError::Corrupt(io::Error::other(zstd_safe::get_error_name(code)))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    const MAX: usize = 256 * 1024;
    const PACKED: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    fn pack(coding: Coding, bytes: &[u8]) -> Bytes {
        match coding {
            Coding::Identity => bytes.to_vec().into(),
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(bytes).expect("packed");
                encoder.finish().expect("packed").into()
            }
            Coding::Brotli => {
                let mut packed = Vec::new();
                let params = brotli::enc::BrotliEncoderParams {
                    quality: 5,
                    lgwin: 24,
                    ..Default::default()
                };
                brotli::BrotliCompress(&mut &bytes[..], &mut packed, &params).expect("packed");
                packed.into()
            }
            Coding::Zstd => {
                let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
                zstd_safe::compress(&mut packed, bytes, 19).expect("packed");
                packed.into()
            }
        }
    }

    fn of(values: &[&str]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).expect("a header");
            headers.append(header::CONTENT_ENCODING, value);
        }
        Coding::of(&headers).ok()
    }

    #[test]
    fn a_body_is_packed_once_in_a_known_way_or_not_at_all() {
        assert_eq!(of(&[]), Some(Coding::Identity));
        assert_eq!(of(&["identity"]), Some(Coding::Identity));
        assert_eq!(of(&["GZIP"]), Some(Coding::Gzip));
        assert_eq!(of(&["x-gzip"]), Some(Coding::Gzip));
        assert_eq!(of(&[" br "]), Some(Coding::Brotli));
        assert_eq!(of(&["zstd"]), Some(Coding::Zstd));
        for unknown in ["", "deflate", "compress", "gzip, br", "gzip;q=1", "*"] {
            assert_eq!(of(&[unknown]), None, "{unknown:?}");
        }
        assert_eq!(of(&["gzip", "gzip"]), None);
    }

    #[test]
    fn what_was_packed_comes_out() {
        let text = r#"{"ad_id":1}"#.repeat(1000);
        for coding in PACKED {
            for len in [0, 1, 10, 4096, text.len()] {
                let bytes = &text.as_bytes()[..len];
                let unpacked = coding.unpack(pack(coding, bytes), MAX).expect("unpacked");
                assert_eq!(unpacked, bytes, "{coding:?}");
            }
        }
    }

    #[test]
    fn exactly_so_much_may_come_out_and_no_byte_more() {
        let mut noise = 1_u32;
        let bytes: Vec<u8> = (0..=MAX)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 28) as u8
            })
            .collect();
        for coding in PACKED {
            let fits = coding.unpack(pack(coding, &bytes[..MAX]), MAX).expect("fits");
            assert_eq!(fits.len(), MAX, "{coding:?}");
            let larger = coding.unpack(pack(coding, &bytes), MAX);
            assert!(matches!(larger, Err(BodyError::TooLarge { .. })), "{coding:?}: {larger:?}");
        }
    }

    #[test]
    fn a_bomb_is_put_out() {
        for coding in PACKED {
            let bomb = pack(coding, &vec![0; 64 * 1024 * 1024]);
            for max_bytes in [4096, MAX] {
                let refused = coding.unpack(bomb.clone(), max_bytes);
                assert!(
                    matches!(refused, Err(BodyError::TooLarge { .. })),
                    "{coding:?} {refused:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_altered_is_corrupt() {
        let text = r#"{"ad_id":1,"timestamp":"2025-04-15T16:55:00Z"}"#.repeat(20);
        for coding in PACKED {
            let whole = pack(coding, text.as_bytes());
            for len in 1..whole.len() {
                let cut = coding.unpack(whole.slice(..len), MAX);
                assert!(matches!(cut, Err(BodyError::Corrupt(_))), "{coding:?} {len}: {cut:?}");
            }
            let other = coding.unpack(Bytes::from_static(b"{\"ad_id\":1}"), MAX);
            assert!(matches!(other, Err(BodyError::Corrupt(_))), "{coding:?}: {other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_unpacked(
            text in vec(0..4_u8, 0..2000),
            damage in vec((any::<Index>(), any::<u8>()), 0..4),
        ) {
            for coding in PACKED {
                let mut packed = pack(coding, &text).to_vec();
                for (at, byte) in &damage {
                    let at = at.index(packed.len());
                    packed[at] = *byte;
                }
                if let Ok(unpacked) = coding.unpack(packed.into(), 4096) {
                    prop_assert!(unpacked.len() <= 4096);
                    // Damage may go unnoticed: brotli has no checksum, and zstd need not have one.
                    prop_assert!(!damage.is_empty() || unpacked == text);
                }
            }
        }
    }
}
