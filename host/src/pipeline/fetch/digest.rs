//! Two digests from one pass: of the file as stored, and of the database image without its trailing hash.
//!
//! ```text
//! file = image (a multiple of 512 bytes) | sha256 of the image (32 bytes)
//! ```
//! How long the image is only shows at the end, so the last 32 bytes are held back from the hash until more come. Nothing
//! else marks the trailer: it is there exactly when the size leaves 32 over (etcd `client/v3/snapshot/v3_snapshot.go`,
//! `hasChecksum`).

use sha2::{Digest, Sha256};

/// Length of a sha256.
pub(crate) const SHA256_BYTES: usize = 32;
/// The smallest page size; every image is a multiple of it.
const SECTOR_BYTES: u64 = 512;

/// What the end of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trailer {
    /// The digest of the image.
    Right,
    /// A digest of something else: this one.
    Wrong([u8; SHA256_BYTES]),
    /// Zeros.
    Zeros,
    /// Not there.
    Absent,
    /// The size is neither that of an image nor that of one with a hash.
    OddSize,
}

/// Both digests and the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) size_bytes: u64,
    pub(crate) image_sha256: [u8; SHA256_BYTES],
    pub(crate) file_sha256: [u8; SHA256_BYTES],
    pub(crate) trailer: Trailer,
}

/// Takes the file in pieces.
#[derive(Clone, Default)]
pub(crate) struct TrailerDigest {
    hasher: Sha256,
    /// The newest bytes, at most 32, not hashed yet.
    held: Vec<u8>,
    size_bytes: u64,
}

impl TrailerDigest {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.size_bytes += piece.len() as u64;
        if piece.len() >= SHA256_BYTES {
            self.hasher.update(&self.held);
            let (hashed, held) = piece.split_at(piece.len() - SHA256_BYTES);
            self.hasher.update(hashed);
            self.held.clear();
            self.held.extend_from_slice(held);
            return;
        }
        self.held.extend_from_slice(piece);
        let surplus = self.held.len().saturating_sub(SHA256_BYTES);
        self.hasher.update(&self.held[..surplus]);
        self.held.drain(..surplus);
    }

    pub(crate) fn finish(mut self) -> Digests {
        let image: [u8; SHA256_BYTES] = self.hasher.clone().finalize().into();
        self.hasher.update(&self.held);
        let file_sha256: [u8; SHA256_BYTES] = self.hasher.finalize().into();
        let (image_sha256, trailer) =
            match (self.size_bytes % SECTOR_BYTES, <[u8; SHA256_BYTES]>::try_from(self.held)) {
                (32, Ok(held)) if held == image => (image, Trailer::Right),
                (32, Ok(held)) if held == [0; SHA256_BYTES] => (image, Trailer::Zeros),
                (32, Ok(held)) => (image, Trailer::Wrong(held)),
                (0, _) => (file_sha256, Trailer::Absent),
                _ => (file_sha256, Trailer::OddSize),
            };
        Digests { size_bytes: self.size_bytes, image_sha256, file_sha256, trailer }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> [u8; SHA256_BYTES] {
        Sha256::digest(bytes).into()
    }

    fn digest(file: &[u8], piece_bytes: usize) -> Digests {
        let mut digest = TrailerDigest::default();
        file.chunks(piece_bytes).for_each(|piece| digest.update(piece));
        digest.finish()
    }

    #[test]
    fn the_trailer_is_told_whatever_the_pieces() {
        let image: Vec<u8> = (0..2048_u32).map(|number| number as u8).collect();
        let whole = [image.as_slice(), &sha256(&image)].concat();
        for piece_bytes in [1, 7, 31, 32, 33, 64, 512, 2047, 2048, 2049, 5000] {
            let digests = digest(&whole, piece_bytes);
            assert_eq!(digests.trailer, Trailer::Right, "pieces of {piece_bytes}");
            assert_eq!(digests.image_sha256, sha256(&image));
            assert_eq!(digests.file_sha256, sha256(&whole));
            assert_eq!(digests.size_bytes, 2080);
        }
    }

    #[test]
    fn other_ends() {
        let image = vec![3; 1024];
        let absent = digest(&image, 100);
        assert_eq!((absent.trailer, absent.image_sha256), (Trailer::Absent, sha256(&image)));
        let zeros = digest(&[image.as_slice(), &[0; 32]].concat(), 100);
        assert_eq!((zeros.trailer, zeros.image_sha256), (Trailer::Zeros, sha256(&image)));
        let wrong = digest(&[image.as_slice(), &[9; 32]].concat(), 100);
        assert_eq!((wrong.trailer, wrong.image_sha256), (Trailer::Wrong([9; 32]), sha256(&image)));
        assert_eq!(digest(&image[..1000], 100).trailer, Trailer::OddSize);
        assert_eq!(digest(&[], 1).trailer, Trailer::Absent);
        assert_eq!(digest(&[1; 5], 5).trailer, Trailer::OddSize);
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
    }
}
