use std::io::Read as _;

use flate2::Compression;
use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::body::Received;

const PLENTY: u64 = 256 << 20;

fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    match coding {
        Coding::Gzip => GzEncoder::new(plain, Compression::default()).read_to_end(&mut packed).unwrap(),
        Coding::Deflate => ZlibEncoder::new(plain, Compression::default()).read_to_end(&mut packed).unwrap(),
        Coding::Zstd => {
            packed = compress_to_vec(plain, CompressionLevel::Fastest);
            packed.len()
        }
    };
    packed
}

/// Unpacks in pieces of `step` bytes; also says how much of the memory for bodies is taken at the end.
fn unpacked(coding: Coding, bytes: &[u8], step: usize, most: u64, budget: &Budget) -> Result<Vec<u8>, Failure> {
    let growing = Growing::new(64, most, budget).unwrap();
    let mut unpacker = Unpacker::new(coding, bytes[0], growing, budget);
    for piece in bytes.chunks(step) {
        unpacker.feed(piece)?;
    }
    let Received::Kept { bytes, permit: Some(permit) } = unpacker.finish()?.into() else { panic!("it is kept") };
    drop(permit);
    Ok(bytes.to_vec())
}

fn whole(coding: Coding, bytes: &[u8], step: usize) -> Result<Vec<u8>, Failure> {
    unpacked(coding, bytes, step, PLENTY, &Budget::new(PLENTY))
}

/// Text of 300 KB that is neither all the same nor noise.
fn text() -> Vec<u8> {
    (0..30_000_u32).flat_map(|at| format!("{:9},", at.wrapping_mul(2_654_435_761) % 100_000).into_bytes()).collect()
}

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

#[test]
fn encodings_are_known_by_name() {
    for (values, expected) in [
        (&[][..], Ok(None)),
        (&["identity"], Ok(None)),
        (&["gzip"], Ok(Some(Coding::Gzip))),
        (&["X-GZip"], Ok(Some(Coding::Gzip))),
        (&[" identity , zstd"], Ok(Some(Coding::Zstd))),
        (&["deflate", "identity"], Ok(Some(Coding::Deflate))),
        (&["br"], Err("Content-Encoding `br` is not taken: only gzip, deflate and zstd are")),
        (&["gzip, zstd"], Err("more than one Content-Encoding is not taken: pack the body once")),
        (&["gzip", "gzip"], Err("more than one Content-Encoding is not taken: pack the body once")),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        let found = Coding::of(&headers).map_err(|failure| (failure.status(), failure.message));
        assert_eq!(found, expected.map_err(|text| (415, text.to_owned())), "{values:?}");
    }
}

#[test]
fn what_was_packed_comes_back_however_it_is_cut() {
    for plain in [&b"{}"[..], b"", &text(), &vec![b'y'; 400_000]] {
        for coding in ALL {
            let packed = packed(coding, plain);
            for step in [1, 2, 3, 7, 1000, 16 * 1024, usize::MAX] {
                if step > 3 || packed.len() < 50_000 {
                    assert_eq!(whole(coding, &packed, step).unwrap(), plain, "{coding:?} {step}");
                }
            }
        }
    }
}

#[test]
fn deflate_may_come_without_its_head() {
    for plain in [&text()[..], b"{}", b"a"] {
        let mut bare = Vec::new();
        DeflateEncoder::new(plain, Compression::default()).read_to_end(&mut bare).unwrap();
        assert_eq!(whole(Coding::Deflate, &bare, 100).unwrap(), plain);
    }
}

#[test]
fn several_members_follow_each_other() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let both = [packed(coding, b"one "), packed(coding, b"two")].concat();
        for step in [1, 5, 1000] {
            assert_eq!(whole(coding, &both, step).unwrap(), b"one two");
        }
    }
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9], &packed(Coding::Zstd, b"x")[..]].concat();
    for step in [1, 9, 1000] {
        assert_eq!(whole(Coding::Zstd, &skipped, step).unwrap(), b"x");
    }
}

/// Written by zstd 1.5.4 at level 19: "previous turn " 20 times, then 100 times "0", with its length and a sum.
const BY_LIBZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x64\x7c\x00\xcd\x00\x00\x78\x70\x72\x65\x76\x69\x6f\x75\x73\x20\x74\x75\x72\x6e\x20\x30\x02\x00\xc0\x4d\x85\x83\x50\xa7\x12\xd3\x4e\x2a\x6b";

#[test]
fn zstd_is_what_its_own_program_writes() {
    let plain = ["previous turn ".repeat(20), "0".repeat(100)].concat();
    for step in [1, 4, 1000] {
        assert_eq!(whole(Coding::Zstd, BY_LIBZSTD, step).unwrap(), plain.as_bytes());
    }
    let mut wrong_sum = BY_LIBZSTD.to_vec();
    *wrong_sum.last_mut().unwrap() ^= 1;
    assert!(whole(Coding::Zstd, &wrong_sum, 1000).unwrap_err().message.contains("sum"));
}

#[test]
fn what_is_cut_or_damaged_is_refused() {
    let plain = text();
    for coding in ALL {
        let packed = packed(coding, &plain);
        for cut in [1, 3, 9, packed.len() / 2, packed.len() - 1] {
            let failure = whole(coding, &packed[..cut], 4096).unwrap_err();
            assert_eq!(failure.status(), 400, "{coding:?} {cut} {failure:?}");
            assert!(failure.message.contains("is not whole"), "{failure:?}");
        }
        let more = [&packed[..], b"more"].concat();
        assert_eq!(whole(coding, &more, 4096).unwrap_err().status(), 400, "{coding:?}");
    }
    for coding in [Coding::Gzip, Coding::Deflate] {
        let mut damaged = packed(coding, &plain);
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert_eq!(whole(coding, &damaged, 4096).unwrap_err().status(), 400, "{coding:?}");
    }
    assert_eq!(whole(Coding::Zstd, b"{\"model\":\"m\"}", 4096).unwrap_err().status(), 400);
}

#[test]
fn what_is_larger_than_any_body_may_be_is_refused_when_it_gets_there() {
    for coding in ALL {
        let packed = packed(coding, &text());
        let failure = unpacked(coding, &packed, 4096, 299_999, &Budget::new(PLENTY)).unwrap_err();
        assert_eq!(failure.status(), 413, "{coding:?} {failure:?}");
        assert!(unpacked(coding, &packed, 4096, 300_000, &Budget::new(PLENTY)).is_ok());
    }
}

#[test]
fn what_does_not_fit_into_memory_now_may_come_again() {
    for coding in ALL {
        let budget = Budget::new(100_000);
        let failure = unpacked(coding, &packed(coding, &text()), 4096, PLENTY, &budget).unwrap_err();
        assert_eq!((failure.status(), failure.retry_after_s), (503, Some(1)), "{coding:?}");
        assert!(budget.take(100_000).is_some(), "all of it came back");
    }
}

/// A frame of 3 bytes per block, each of which becomes 128 KiB.
fn bomb(blocks: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x50];
    for at in 0..blocks {
        let head = u32::from(at + 1 == blocks) | 1 << 1 | (128 << 10) << 3;
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame
}

#[test]
fn bombs_are_refused_early() {
    let mut gzip = Vec::new();
    let zeros = std::io::repeat(0).take(16 << 20);
    GzEncoder::new(zeros, Compression::best()).read_to_end(&mut gzip).unwrap();
    for (coding, packed) in [(Coding::Gzip, gzip), (Coding::Zstd, bomb(1 << 13))] {
        // It would fit into memory: it is not the memory that runs out.
        let growing = Growing::new(64, 1 << 40, &Budget::new(1 << 40)).unwrap();
        let mut unpacker = Unpacker::new(coding, packed[0], growing, &Budget::new(1 << 40));
        let mut taken = 0;
        let failure = packed.chunks(1024).find_map(|piece| {
            taken += piece.len();
            unpacker.feed(piece).err()
        });
        let failure = failure.unwrap();
        assert_eq!(failure.status(), 413, "{failure:?}");
        assert!(taken <= 32 << 10, "{coding:?}: {taken}");
        assert!(unpacker.sink().unpacked <= FREE + (1 << 20), "{}", unpacker.sink().unpacked);
    }
    // A little of the same is no bomb: people do send long runs.
    assert_eq!(whole(Coding::Zstd, &bomb(30), 1024).unwrap().len(), 30 * (128 << 10));
}

#[test]
fn a_frame_may_not_look_back_further_than_8_mib() {
    // The window's exponent is in the upper five bits: 13 is 8 MiB.
    for (window, fits) in [(13 << 3, true), (13 << 3 | 1, false), (20 << 3, false), (0xff, false)] {
        let mut frame = bomb(1);
        frame[5] = window;
        assert_eq!(whole(Coding::Zstd, &frame, 1024).is_ok(), fits, "{window}");
    }
    let dictionary = [&[0x28, 0xb5, 0x2f, 0xfd, 1, 0x50, 7][..], &bomb(1)[6..]].concat();
    assert!(whole(Coding::Zstd, &dictionary, 1024).unwrap_err().message.contains("dictionary"));
}

#[test]
fn nothing_makes_it_panic() {
    // A small generator of its own: each run tries the same.
    let mut state = 7_u64;
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let plain = &text()[..20_000];
    for coding in ALL {
        let packed = packed(coding, plain);
        for _ in 0..500 {
            let mut damaged = packed.clone();
            for _ in 0..=draw(4) {
                // The heads of frames and blocks are where it would hurt.
                let at = if draw(2) == 0 { draw(60.min(packed.len())) } else { draw(packed.len()) };
                damaged[at] = draw(256) as u8;
            }
            damaged.truncate(1 + draw(damaged.len()));
            let step = 1 + draw(5_000);
            let _ = unpacked(coding, &damaged, step, 1 << 20, &Budget::new(32 << 20));
        }
    }
}
