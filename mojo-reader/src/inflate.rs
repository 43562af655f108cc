//! Inflates deflated data (RFC 1951) of a size that is known before.
//!
//! In flow the bytes of one entry and the size that the archive declares; out flow exactly so many bytes, or why not. Written for what
//! trees are: entries of some ten kilobytes, most of whose bytes repeat nothing. Whatever comes in, nothing is read past its end,
//! no more than the size and [`SLACK`] is written, and the work is bounded by the bytes of both.
//!
//! A code is looked up by its first bits; the longer ones lead to a table of what follows them. The output has room beyond its
//! end, so that what is copied need not be counted byte by byte.

/// Why data were not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// There is more than the declared size.
    Larger,
    /// They end before they say so.
    Truncated,
    /// They are nothing that a deflater writes.
    Malformed,
}

/// Room beyond the end of the output: the literals and the match of one turn, and what the last copy writes too much.
const SLACK: usize = LITERALS + 1 + 258 + 2 * CHUNK;
/// Literals of a turn, of [`LENGTH_BITS`] bits at most; the first bits of what follows them are there too.
const LITERALS: usize = 4;
/// Bytes copied at once.
const CHUNK: usize = 8;

/// First bits of a code of literals and lengths, and of distances.
const LENGTH_BITS: u32 = 11;
const DISTANCE_BITS: u32 = 8;
/// Entries of the tables with those of what follows long codes: more than any complete code of 15 bits takes.
const LENGTH_ENTRIES: usize = 1 << 12;
const DISTANCE_ENTRIES: usize = 1 << 10;

// An entry: the bits to drop in the lowest byte, then what it is, from bit 12 on the bits of a number that follows the code, and from bit
// 16 on a literal, the number's base, or where a further table begins. Others are the end of a block, and that there is no such code.
const LITERAL: u32 = 1 << 8;
const FURTHER: u32 = 1 << 9;
const OTHER: u32 = 1 << 10;
const NONE: u32 = OTHER;
const END: u32 = OTHER | entry(1, 0);

const fn entry(base: u32, more: u32) -> u32 {
    base << 16 | more << 12
}

/// What a literal or length symbol stands for: literals, the end of a block, lengths.
const LENGTHS: [u32; 288] = {
    let mut entries = [NONE; 288];
    let mut symbol = 0;
    while symbol < 256 {
        entries[symbol] = LITERAL | entry(symbol as u32, 0);
        symbol += 1;
    }
    entries[256] = END;
    let (mut symbol, mut base) = (257, 3);
    while symbol < 285 {
        let more = if symbol < 265 { 0 } else { (symbol as u32 - 261) / 4 };
        entries[symbol] = entry(base, more);
        base += 1 << more;
        symbol += 1;
    }
    entries[285] = entry(258, 0);
    entries
};

/// What a distance symbol stands for.
const DISTANCES: [u32; 32] = {
    let mut entries = [NONE; 32];
    let (mut symbol, mut base) = (0, 1);
    while symbol < 30 {
        let more = if symbol < 4 { 0 } else { symbol as u32 / 2 - 1 };
        entries[symbol] = entry(base, more);
        base += 1 << more;
        symbol += 1;
    }
    entries
};

/// What a symbol of code lengths stands for, which is itself.
const CODE_LENGTHS: [u32; 19] = {
    let mut entries = [NONE; 19];
    let mut symbol = 0;
    while symbol < 19 {
        entries[symbol] = LITERAL | entry(symbol as u32, 0);
        symbol += 1;
    }
    entries
};

/// The order in which code lengths of code lengths are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The tables, worth keeping from entry to entry.
#[derive(Debug)]
pub(crate) struct Inflate {
    lengths: Box<[u32; LENGTH_ENTRIES]>,
    distances: Box<[u32; DISTANCE_ENTRIES]>,
}

impl Default for Inflate {
    fn default() -> Self {
        Self { lengths: Box::new([0; LENGTH_ENTRIES]), distances: Box::new([0; DISTANCE_ENTRIES]) }
    }
}

/// The bits of the input, the lowest of a byte first.
#[derive(Clone, Copy)]
struct Bits<'a> {
    input: &'a [u8],
    /// Bytes that are taken into `word`; may count zeros past the end.
    at: usize,
    word: u64,
    /// How many of them there are, in the lowest six bits.
    count: u32,
}

/// The bytes from `at` on, where there are fewer than eight.
#[cold]
fn last_bytes(input: &[u8], at: usize) -> u64 {
    let rest = input.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

impl Bits<'_> {
    /// Makes the word hold at least 56 bits; past the end of the input they are 0.
    #[inline(always)]
    fn fill(&mut self) {
        let bytes = match self.input.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => last_bytes(self.input, self.at),
        };
        self.word |= bytes << (self.count & 63);
        self.at += (!self.count & 63) as usize / 8;
        self.count |= 56;
    }

    /// Drops as many bits as the lowest byte says.
    #[inline(always)]
    fn drop(&mut self, count: u32) {
        self.word >>= count & 63;
        self.count = self.count.wrapping_sub(count);
    }

    /// How many bytes of the input are taken, or begun.
    fn taken(&self) -> usize {
        self.at - (self.count & 63) as usize / 8
    }

    /// The next bits, at most 32 of those that the word holds.
    #[inline(always)]
    fn take(&mut self, count: u32) -> u32 {
        let taken = self.word & ((1 << count) - 1);
        self.drop(count);
        taken as u32
    }

    /// Whether more was taken than there is.
    fn is_past_end(&self) -> bool {
        self.taken() > self.input.len()
    }
}

impl Inflate {
    /// Inflates into `out`, in place of what it holds, `size` bytes.
    pub(crate) fn inflate(&mut self, input: &[u8], size: usize, out: &mut Vec<u8>) -> Result<(), Broken> {
        out.clear();
        out.resize(size + SLACK, 0);
        let mut bits = Bits { input, at: 0, word: 0, count: 0 };
        let end = self.blocks(&mut bits, size, out);
        if bits.is_past_end() {
            return Err(Broken::Truncated);
        }
        out.truncate(end?);
        Ok(())
    }

    /// Inflates one block after another; returns where the last one ends.
    fn blocks(&mut self, bits: &mut Bits<'_>, size: usize, out: &mut [u8]) -> Result<usize, Broken> {
        let mut end = 0;
        loop {
            bits.fill();
            let is_last = bits.take(1) == 1;
            end = match bits.take(2) {
                0 => stored(bits, size, out, end)?,
                1 => {
                    self.fixed_codes()?;
                    self.block(bits, size, out, end)?
                }
                2 => {
                    self.read_codes(bits)?;
                    self.block(bits, size, out, end)?
                }
                _ => return Err(Broken::Malformed),
            };
            // Past the end there are blocks without end.
            if is_last || bits.is_past_end() {
                return Ok(end);
            }
        }
    }

    /// The codes that need not be written.
    fn fixed_codes(&mut self) -> Result<(), Broken> {
        let lengths: [u8; 288] = std::array::from_fn(|symbol| match symbol {
            0..144 | 280.. => 8,
            144..256 => 9,
            256..280 => 7,
        });
        fill(&mut *self.lengths, LENGTH_BITS, &lengths, &LENGTHS)?;
        fill(&mut *self.distances, DISTANCE_BITS, &[5; 32], &DISTANCES)
    }

    /// Reads the codes of a block.
    fn read_codes(&mut self, bits: &mut Bits<'_>) -> Result<(), Broken> {
        let (n_lengths, n_distances) = (bits.take(5) as usize + 257, bits.take(5) as usize + 1);
        let n_codes = bits.take(4) as usize + 4;
        if n_lengths > 286 || n_distances > 30 {
            return Err(Broken::Malformed);
        }
        let mut of_codes = [0; 19];
        for symbol in &ORDER[..n_codes] {
            bits.fill();
            of_codes[*symbol] = bits.take(3) as u8;
        }
        // In the room for distances, which are read later.
        let codes = &mut *self.distances;
        fill(codes, 7, &of_codes, &CODE_LENGTHS)?;
        let mut all = [0; 286 + 30];
        let all = &mut all[..n_lengths + n_distances];
        let mut at = 0;
        while at < all.len() {
            bits.fill();
            let entry = codes[(bits.word & 127) as usize];
            if entry & OTHER != 0 {
                return Err(Broken::Malformed);
            }
            bits.drop(entry);
            let (length, times) = match entry >> 16 {
                16 if at == 0 => return Err(Broken::Malformed),
                16 => (all[at - 1], 3 + bits.take(2)),
                17 => (0, 3 + bits.take(3)),
                18 => (0, 11 + bits.take(7)),
                length => (length as u8, 1),
            };
            let run = all.get_mut(at..at + times as usize).ok_or(Broken::Malformed)?;
            run.fill(length);
            at += times as usize;
        }
        let (lengths, distances) = all.split_at(n_lengths);
        if lengths[256] == 0 {
            return Err(Broken::Malformed);
        }
        fill(&mut *self.lengths, LENGTH_BITS, lengths, &LENGTHS)?;
        fill(&mut *self.distances, DISTANCE_BITS, distances, &DISTANCES)
    }

    /// Inflates a block behind the first `at` bytes of the output; returns where it ends.
    fn block(&self, bits: &mut Bits<'_>, size: usize, out: &mut [u8], at: usize) -> Result<usize, Broken> {
        // A copy stays in registers.
        let mut here = *bits;
        let end = self.symbols(&mut here, size, out, at);
        *bits = here;
        end
    }

    #[inline(always)]
    fn symbols(
        &self,
        bits: &mut Bits<'_>,
        size: usize,
        out: &mut [u8],
        mut at: usize,
    ) -> Result<usize, Broken> {
        let (lengths, distances) = (&*self.lengths, &*self.distances);
        let first = |bits: &Bits<'_>| lengths[(bits.word & ((1 << LENGTH_BITS) - 1)) as usize];
        while at <= size {
            bits.fill();
            let mut found = first(bits);
            let Some(room) = out[at..].first_chunk_mut::<LITERALS>() else { break };
            for literal in room {
                if found & LITERAL == 0 {
                    break;
                }
                *literal = (found >> 16) as u8;
                at += 1;
                bits.drop(found);
                found = first(bits);
            }
            if found & LITERAL != 0 {
                continue;
            }
            // From here on at most 48 bits are taken.
            bits.fill();
            if found & (FURTHER | OTHER) != 0 {
                if found & FURTHER != 0 {
                    bits.drop(found);
                    found = lengths[further(found, bits) % LENGTH_ENTRIES];
                }
                bits.drop(found);
                if found & LITERAL != 0 {
                    out[at] = (found >> 16) as u8;
                    at += 1;
                    continue;
                }
                if found & OTHER != 0 {
                    return match found >> 16 {
                        0 => Err(Broken::Malformed),
                        _ if at > size => Err(Broken::Larger),
                        _ => Ok(at),
                    };
                }
            } else {
                bits.drop(found);
            }
            let length = number(found, bits);
            let mut found = distances[(bits.word & ((1 << DISTANCE_BITS) - 1)) as usize];
            if found & FURTHER != 0 {
                bits.drop(found);
                found = distances[further(found, bits) % DISTANCE_ENTRIES];
            }
            bits.drop(found);
            let distance = number(found, bits);
            if found & OTHER != 0 || distance > at {
                return Err(Broken::Malformed);
            }
            repeat(out, at, distance, length);
            at += length;
        }
        Err(Broken::Larger)
    }
}

/// Where an entry that leads further leads.
#[inline(always)]
fn further(entry: u32, bits: &Bits<'_>) -> usize {
    let more = bits.word & ((1 << (entry >> 12 & 15)) - 1);
    (entry >> 16) as usize + more as usize
}

/// The number that an entry and the bits after it make.
#[inline(always)]
fn number(entry: u32, bits: &mut Bits<'_>) -> usize {
    (entry >> 16) as usize + bits.take(entry >> 12 & 15) as usize
}

/// Writes `length` bytes at `at`, and some more, which are what stands `distance` before them.
#[inline(always)]
fn repeat(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let chunk = |out: &mut [u8], to: usize| {
        let (before, after) = out.split_at_mut(to);
        after[..CHUNK].copy_from_slice(&before[to - distance..][..CHUNK]);
    };
    if distance >= CHUNK {
        // Most are no longer than two.
        chunk(out, at);
        chunk(out, at + CHUNK);
        for to in (at + 2 * CHUNK..at + length).step_by(CHUNK) {
            chunk(out, to);
        }
    } else {
        for to in at..at + length {
            out[to] = out[to - distance];
        }
    }
}

/// Copies a stored block behind the first `at` bytes of the output; returns where it ends.
fn stored(bits: &mut Bits<'_>, size: usize, out: &mut [u8], at: usize) -> Result<usize, Broken> {
    bits.drop(bits.count & 7);
    // The bytes of the word are given back.
    let start = bits.taken();
    let head = bits.input.get(start..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Broken::Truncated)?;
    let length = u16::from_le_bytes([head[0], head[1]]);
    if length != !u16::from_le_bytes([head[2], head[3]]) {
        return Err(Broken::Malformed);
    }
    let length = usize::from(length);
    let bytes = bits.input.get(start + 4..start + 4 + length).ok_or(Broken::Truncated)?;
    if length > size - at {
        return Err(Broken::Larger);
    }
    out[at..at + length].copy_from_slice(bytes);
    (bits.at, bits.word, bits.count) = (start + 4 + length, 0, 0);
    Ok(at + length)
}

/// Fills the table of a code from the length that each symbol has in it.
fn fill(table: &mut [u32], first_bits: u32, lengths: &[u8], symbols: &[u32]) -> Result<(), Broken> {
    let mut counts = [0u32; 16];
    lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
    let longest = counts.iter().rposition(|count| *count > 0).unwrap_or(0) as u32;
    // Codes of each length that are left.
    let mut left = 1i32;
    let mut firsts = [0; 17];
    for length in 1..16 {
        left = 2 * left - counts[length] as i32;
        if left < 0 {
            return Err(Broken::Malformed);
        }
        firsts[length + 1] = firsts[length] + counts[length] as usize;
    }
    // Deflaters leave codes unused only where one symbol, or none, has one.
    if left > 0 && (longest > 1 || first_bits == 7) {
        return Err(Broken::Malformed);
    }
    // Symbols in the order of their codes.
    let mut sorted = [0u16; 288];
    let mut next = firsts;
    for (symbol, length) in (0u16..).zip(lengths).filter(|(_, length)| **length > 0) {
        let place = &mut next[usize::from(*length)];
        sorted[*place] = symbol;
        *place += 1;
    }
    table[0] = NONE;
    // The next code, with its first bit lowest.
    let mut code = 0u32;
    // Adds one to a code of this length.
    let step = |code: u32, length: u32| {
        let zero = (0..length).rev().find(|bit| code >> bit & 1 == 0);
        zero.map_or(0, |bit| code & ((1 << bit) - 1) | 1 << bit)
    };
    let of = |length: u32| &sorted[firsts[length as usize]..firsts[length as usize + 1]];
    for length in 1..=first_bits {
        // Whatever the next bit is, the codes so far are what they are.
        let half = 1 << (length - 1);
        table.copy_within(..half, half);
        for symbol in of(length) {
            table[code as usize] = symbols[usize::from(*symbol)] | length;
            code = step(code, length);
        }
    }
    let mask = (1 << first_bits) - 1;
    let mut end = 1usize << first_bits;
    let (mut begin, mut more) = (0, 0);
    let mut prefix = u32::MAX;
    for length in first_bits + 1..=longest {
        for (nth, symbol) in of(length).iter().enumerate() {
            if code & mask != prefix {
                prefix = code & mask;
                begin = end;
                // So many bits that the codes of this prefix, which are the next ones, have room.
                more = length - first_bits;
                let mut room = (1 << more) - (of(length).len() - nth) as i32;
                while room > 0 && first_bits + more < longest {
                    more += 1;
                    room = 2 * room - counts[(first_bits + more) as usize] as i32;
                }
                end += 1 << more;
                let further = table.get_mut(begin..end).ok_or(Broken::Malformed)?;
                further.fill(NONE);
                table[prefix as usize] = FURTHER | entry(begin as u32, more) | first_bits;
            }
            let symbol = symbols[usize::from(*symbol)] | (length - first_bits);
            for at in ((code >> first_bits) as usize..1 << more).step_by(1 << (length - first_bits)) {
                table[begin + at] = symbol;
            }
            code = step(code, length);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::DeflateEncoder;
    use flate2::{Compression, Decompress, FlushDecompress, Status};
    use proptest::prelude::*;

    use super::*;

    fn deflated(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflated(input: &[u8], size: usize) -> Result<Vec<u8>, Broken> {
        let mut out = vec![9; 3];
        Inflate::default().inflate(input, size, &mut out).map(|()| out)
    }

    /// What another inflater makes of it, which is told of one byte more than the size.
    fn by_zlib(input: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; size + 1];
        let mut zlib = Decompress::new(false);
        let status = zlib.decompress(input, &mut out, FlushDecompress::Finish);
        out.truncate(zlib.total_out() as usize);
        (matches!(status, Ok(Status::StreamEnd)) && out.len() <= size).then_some(out)
    }

    /// Bytes as deflaters meet them: of few kinds or many, with near and far repetitions.
    fn contents() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(0u8..4, 0..300),
            (any::<u8>(), 0..700usize).prop_map(|(byte, n)| vec![byte; n]),
            (prop::collection::vec(any::<u8>(), 1..12), 1..60usize).prop_map(|(bytes, n)| bytes.repeat(n)),
            prop::collection::vec(any::<f32>(), 0..2000).prop_map(|floats| {
                floats.iter().flat_map(|float| [&[0, 3, 0], &float.to_le_bytes()[..]].concat()).collect()
            }),
        ];
        (prop::collection::vec(part, 0..8), 0..3usize).prop_map(|(parts, far)| {
            let once = parts.concat();
            once.repeat(far + 1)
        })
    }

    proptest! {
        #[test]
        fn what_was_deflated_is_inflated(bytes in contents(), level in 0u32..10, less in 1..40usize) {
            let input = deflated(&bytes, level);
            prop_assert_eq!(inflated(&input, bytes.len()), Ok(bytes.clone()));
            prop_assert_eq!(inflated(&input, bytes.len() + 1), Ok(bytes.clone()));
            if let Some(size) = bytes.len().checked_sub(less) {
                prop_assert_eq!(inflated(&input, size), Err(Broken::Larger));
            }
            if let Some(cut) = input.len().checked_sub(less) {
                prop_assert_eq!(inflated(&input[..cut], bytes.len()), Err(Broken::Truncated));
            }
        }

        #[test]
        fn what_is_broken_is_refused_as_zlib_refuses_it(
            bytes in contents(),
            level in 0u32..10,
            flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..4),
        ) {
            let mut input = deflated(&bytes, level);
            for (at, bit) in flips {
                // Where the codes are, mostly.
                let at = at.index(input.len().min(90));
                input[at] ^= 1 << bit;
            }
            prop_assert_eq!(inflated(&input, bytes.len()).ok(), by_zlib(&input, bytes.len()));
        }

        #[test]
        fn any_bytes_come_to_an_end(input in prop::collection::vec(any::<u8>(), 0..200), size in 0..3000usize) {
            prop_assert_eq!(inflated(&input, size).ok(), by_zlib(&input, size));
        }
    }

    #[test]
    fn one_distance_code_of_one_bit_is_enough() {
        let bytes = vec![7; 600];
        assert_eq!(inflated(&deflated(&bytes, 9), 600), Ok(bytes));
        assert_eq!(inflated(&[], 0), Err(Broken::Truncated));
        // The last block is of a type that there is not.
        assert_eq!(inflated(&[7], 0), Err(Broken::Malformed));
    }
}
