//! Text that is generated while a response is sent, because it may be larger than memory.

use std::collections::VecDeque;
use std::io::Write;
use std::mem;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::json;

/// Number of compressed bytes to collect before they are sent.
const COMPRESSED_CHUNK: usize = 16 * 1024;
/// Number of bytes to compress at once.
const PLAIN_CHUNK: usize = 64 * 1024;
/// A hundred bytes.
const FILLER: &str =
    "It happens every morning at the same time and is gone an hour later; nobody has changed anything. - ";

/// Items that are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GeneratedText {
    /// The text of an item; every `#` stands for its number.
    template: &'static str,
    separator: &'static str,
    count: u64,
}

impl GeneratedText {
    /// Creates `count` items separated by commas.
    pub(crate) fn list(template: &'static str, count: u64) -> GeneratedText {
        GeneratedText { template, separator: ",", count }
    }

    /// Creates sentences of that many megabytes, for the inside of a JSON string.
    pub(crate) fn sentences(megabytes: u32) -> GeneratedText {
        GeneratedText { template: FILLER, separator: "", count: u64::from(megabytes) * 10_000 }
    }

    /// Returns the number of bytes.
    pub(crate) fn byte_length(&self) -> u64 {
        let numbers = self.template.matches('#').count();
        let fixed = length_of(self.template.len() - numbers + self.separator.len());
        fixed * self.count + length_of(numbers) * digits_up_to(self.count)
            - if self.count == 0 { 0 } else { length_of(self.separator.len()) }
    }

    /// Appends items from the one at `index` on until `out` has `size` bytes; returns the index of the next.
    fn append(&self, mut index: u64, size: usize, out: &mut Vec<u8>) -> u64 {
        while index < self.count && out.len() < size {
            if index > 0 {
                out.extend_from_slice(self.separator.as_bytes());
            }
            index += 1;
            let mut parts = self.template.split('#');
            out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
            for part in parts {
                json::integer(out, i64::try_from(index).unwrap_or(i64::MAX));
                out.extend_from_slice(part.as_bytes());
            }
        }
        index
    }
}

fn length_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Returns the number of digits of all numbers from 1 to `count`.
fn digits_up_to(count: u64) -> u64 {
    let (mut total, mut digits, mut first) = (0, 1, 1_u64);
    while first <= count {
        let last = first.saturating_mul(10) - 1;
        total += digits * (last.min(count) - first + 1);
        (digits, first) = (digits + 1, first.saturating_mul(10));
    }
    total
}

/// Reads a body with its generated parts, chunk by chunk.
#[derive(Debug)]
struct BodyReader {
    body: Vec<u8>,
    position: usize,
    /// Generated parts and where they begin in `body`, in that order.
    generated: VecDeque<(usize, GeneratedText)>,
    /// The next item of the first generated part.
    item: u64,
}

impl BodyReader {
    /// Returns about `size` bytes; none at the end.
    fn next_chunk(&mut self, size: usize) -> Vec<u8> {
        let mut chunk = Vec::new();
        while chunk.len() < size {
            match self.generated.front() {
                Some((at, text)) if *at <= self.position => {
                    self.item = text.append(self.item, size, &mut chunk);
                    if self.item == text.count {
                        self.generated.pop_front();
                        self.item = 0;
                    }
                }
                next => {
                    let end = next.map_or(self.body.len(), |(at, _)| *at);
                    let end = end.min(self.position.saturating_add(size - chunk.len()));
                    if self.position == end {
                        break;
                    }
                    chunk.extend_from_slice(&self.body[self.position..end]);
                    self.position = end;
                }
            }
        }
        chunk
    }
}

/// A body that is generated, and perhaps compressed, while it is sent.
pub(crate) struct BodyStream {
    reader: BodyReader,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl BodyStream {
    pub(crate) fn new(body: Vec<u8>, generated: Vec<(usize, GeneratedText)>, compress: bool) -> BodyStream {
        let mut generated: VecDeque<_> =
            generated.into_iter().map(|(at, text)| (at.min(body.len()), text)).collect();
        generated.make_contiguous().sort_by_key(|(at, _)| *at);
        BodyStream {
            reader: BodyReader { body, position: 0, generated, item: 0 },
            encoder: compress.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.encoder.is_some()
    }

    /// Returns the next bytes, about `size` of them where they are not compressed; none at the end.
    pub(crate) fn next_chunk(&mut self, size: usize) -> Vec<u8> {
        let Some(mut encoder) = self.encoder.take() else { return self.reader.next_chunk(size) };
        loop {
            let plain = self.reader.next_chunk(PLAIN_CHUNK);
            // Writing to a vector cannot fail.
            if plain.is_empty() || encoder.write_all(&plain).is_err() {
                return encoder.finish().unwrap_or_default();
            }
            if encoder.get_ref().len() >= COMPRESSED_CHUNK {
                let compressed = mem::take(encoder.get_mut());
                self.encoder = Some(encoder);
                return compressed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_has_the_announced_length() {
        for count in [0, 1, 2, 9, 10, 11, 99, 100, 1_234] {
            for text in [
                GeneratedText::list("{}", count),
                GeneratedText::list("{\"id\":#,\"name\":\"Name #\"}", count),
                GeneratedText { count, ..GeneratedText::sentences(0) },
            ] {
                let mut all = Vec::new();
                assert_eq!(text.append(0, usize::MAX, &mut all), count);
                assert_eq!(length_of(all.len()), text.byte_length(), "{text:?}");
            }
        }
        assert_eq!(GeneratedText::sentences(7).byte_length(), 7_000_000);
    }

    #[test]
    fn chunks_of_any_size_make_the_same_body() {
        let body = || b"[],[]".to_vec();
        let generated = || vec![(4, GeneratedText::list("#", 3)), (1, GeneratedText::list("{\"a\":#}", 12))];
        let mut expected = None;
        for size in [1, 2, 3, 7, 50, 10_000] {
            let mut stream = BodyStream::new(body(), generated(), false);
            let mut whole = Vec::new();
            loop {
                let chunk = stream.next_chunk(size);
                if chunk.is_empty() {
                    break;
                }
                whole.extend(chunk);
            }
            assert!(whole.starts_with(b"[{\"a\":1},{\"a\":2},") && whole.ends_with(b"{\"a\":12}],[1,2,3]"));
            assert_eq!(*expected.get_or_insert_with(|| whole.clone()), whole);
        }
    }
}
