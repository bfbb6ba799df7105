//! Changes to snapshot files that keep them worth reading: forged numbers where a reader looks for them, with checksums
//! and the hash at the end made again.

use etcd_snapshot::bolt::{META_OFFSET, Meta, PageId};

use super::build::{META_BYTES_WITH_HEADER, meta_page, reseal};

/// Numbers that are the same on every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds that lie close together would begin with numbers that do.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// What a file is cut into.
struct Shape {
    page_bytes: usize,
    /// Pages that are whole.
    pages: usize,
}

impl Shape {
    fn of(file: &[u8]) -> Self {
        let page_bytes = word(file, META_OFFSET + 8) as usize;
        let known = page_bytes.is_power_of_two() && (1 << 10..=1 << 16).contains(&page_bytes);
        let page_bytes = if known { page_bytes } else { 1 << 10 };
        Self { page_bytes, pages: file.len() / page_bytes }
    }
}

/// Changes a file in one to four places and makes its checksums and hash fit again, most of the time.
pub(crate) fn mutate(file: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let shape = Shape::of(file);
        if shape.pages < 3 {
            break;
        }
        change(file, &shape, numbers);
    }
    mend(file, numbers);
}

/// Makes the metas' checksums fit, and the hash at the end. Not always, so that the faults are met as well.
pub(crate) fn mend(file: &mut [u8], numbers: &mut Numbers) {
    let shape = Shape::of(file);
    if numbers.below(16) != 0 && file.len() >= 2 * shape.page_bytes {
        for page in 0..2 {
            let meta = raw_meta(file, &shape, page);
            set_meta_at(file, &shape, page, &meta);
        }
    }
    if numbers.below(8) != 0 {
        reseal(file);
    }
}

fn change(file: &mut Vec<u8>, shape: &Shape, numbers: &mut Numbers) {
    let page = 2 + numbers.below(shape.pages - 2);
    let start = page * shape.page_bytes;
    let other = 2 + numbers.below(shape.pages - 2);
    match numbers.below(12) {
        // A page's header: id, flags, count, overflow.
        0 | 1 => {
            let (at, bytes) = [(0, 8), (8, 2), (10, 2), (12, 4)][numbers.below(4)];
            let number = forged(shape, page, numbers);
            put(file, start + at, number, bytes);
        }
        // An element's word.
        2 | 3 => {
            let count = usize::from(u16::from_le_bytes([file[start + 10], file[start + 11]]));
            let element = start + 16 + 16 * numbers.below(count.min(shape.page_bytes / 16 - 2));
            let number = forged(shape, page, numbers);
            put(file, element + 4 * numbers.below(4), number, 4);
        }
        4 => file.copy_within(start..start + shape.page_bytes, other * shape.page_bytes),
        // A good page in a wrong place.
        5 => {
            file.copy_within(start..start + shape.page_bytes, other * shape.page_bytes);
            put(file, other * shape.page_bytes, other as u64, 8);
        }
        6 => change_metas(file, shape, numbers),
        7 => {
            let length = 1 + numbers.below(64);
            let at = start + numbers.below(shape.page_bytes - length);
            match numbers.below(3) {
                0 => file[at..at + length].fill(0),
                1 => file[at..at + length].fill(0xff),
                _ => file.copy_within(other * shape.page_bytes..other * shape.page_bytes + length, at),
            }
        }
        8 | 9 => {
            let at = start + numbers.below(shape.page_bytes);
            file[at] ^= 1 << numbers.below(8);
        }
        10 => {
            let at = start + numbers.below(shape.page_bytes);
            file[at] = file[at].wrapping_add([1, 0xff, 0x80, 0x7f][numbers.below(4)]);
        }
        _ => resize(file, shape, numbers),
    }
}

/// Numbers that break arithmetic and bounds, and those that point somewhere.
fn forged(shape: &Shape, page: usize, numbers: &mut Numbers) -> u64 {
    const HOSTILE: [u64; 16] = [
        0,
        1,
        2,
        3,
        4,
        16,
        0xfffe,
        0xffff,
        0x10000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        1 << 52,
        u64::MAX - 1,
        u64::MAX,
    ];
    match numbers.below(4) {
        0 => page as u64,
        1 => numbers.below(shape.pages + 2) as u64,
        2 => numbers.below(shape.page_bytes) as u64,
        _ => HOSTILE[numbers.below(HOSTILE.len())],
    }
}

fn change_metas(file: &mut [u8], shape: &Shape, numbers: &mut Numbers) {
    let field = numbers.below(6);
    let number = forged(shape, shape.pages, numbers);
    let both = numbers.below(4) != 0;
    for page in 0..2 {
        if both || page == numbers.below(2) {
            let mut meta = raw_meta(file, shape, page);
            match field {
                0 | 1 => meta.root = PageId(number),
                2 => meta.freelist = number,
                3 => meta.high_water = number,
                4 => meta.txid = number,
                _ => meta.page_size = [1 << 10, 1 << 11, 1 << 12, 1 << 24][numbers.below(4)],
            }
            set_meta_at(file, shape, page, &meta);
        }
    }
}

/// Pages cut off or added, before the hash if there is one.
fn resize(file: &mut Vec<u8>, shape: &Shape, numbers: &mut Numbers) {
    let hash = if file.len() % 512 == 32 { file.split_off(file.len() - 32) } else { Vec::new() };
    if numbers.below(2) == 0 {
        file.truncate(file.len() - shape.page_bytes);
    } else {
        file.resize(file.len() + shape.page_bytes, 0);
    }
    if numbers.below(8) != 0 {
        file.extend_from_slice(&hash);
    }
}

/// A meta's fields, whether or not its checksum fits.
fn raw_meta(file: &[u8], shape: &Shape, page: usize) -> Meta {
    let at = page * shape.page_bytes + META_OFFSET;
    let long = |offset| u64::from(word(file, at + offset)) | u64::from(word(file, at + offset + 4)) << 32;
    Meta {
        page_size: word(file, at + 8),
        flags: word(file, at + 12),
        root: PageId(long(16)),
        sequence: long(24),
        freelist: long(32),
        high_water: long(40),
        txid: long(48),
    }
}

fn set_meta_at(file: &mut [u8], shape: &Shape, page: usize, meta: &Meta) {
    let start = page * shape.page_bytes;
    file[start..start + META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(page, meta));
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn put(file: &mut [u8], at: usize, number: u64, bytes: usize) {
    if let Some(place) = file.get_mut(at..at + bytes) {
        place.copy_from_slice(&number.to_le_bytes()[..bytes]);
    }
}
