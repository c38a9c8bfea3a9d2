//! Options inside an option: code, length, value, one behind the other (RFC 2132 §8.4, RFC 3046 §2,
//! RFC 3925 §4).

/// The sub-options in order, or `None` where the lengths do not add up. No code is special: 0 and
/// 255 mean nothing else inside most options, and where they do, they are no whole sub-options.
pub fn parse(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    while let [code, len, rest @ ..] = bytes {
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        all.push((*code, value));
        bytes = rest;
    }
    bytes.is_empty().then_some(all)
}

/// Appends a sub-option, in parts of the same code when it is longer than 255 bytes, as RFC 3396 has
/// it for options.
pub fn put(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        out.extend([code, 0]);
    }
    for part in value.chunks(255) {
        // A chunk has at most 255 bytes.
        out.extend([code, part.len() as u8]);
        out.extend(part);
    }
}

/// The blocks of an option 125 or 124: enterprise number and what is inside (RFC 3925 §§3, 4). Stops
/// at the first that does not add up.
pub fn enterprises(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (number, rest) = bytes.split_first_chunk::<4>()?;
        // A number alone is a block without anything in it: so Kea's `data` says it.
        let (len, rest) = rest.split_first().unwrap_or((&0, rest));
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        bytes = rest;
        Some((u32::from_be_bytes(*number), value))
    })
}

/// Appends the block of one enterprise with its options, several blocks when one length byte is not
/// enough for all; an option is never cut between two.
pub fn put_enterprise<'v>(
    out: &mut Vec<u8>,
    number: u32,
    options: impl IntoIterator<Item = (u8, &'v [u8])>,
) {
    let head = |out: &mut Vec<u8>| {
        out.extend(number.to_be_bytes());
        out.push(0);
        out.len()
    };
    let mut start = head(out);
    let mut one = Vec::new();
    for (code, value) in options {
        // 253 bytes and their head fill a block.
        for part in value.chunks(253).chain(value.is_empty().then_some(value)) {
            one.clear();
            put(&mut one, code, part);
            if out.len() - start + one.len() > 255 {
                start = head(out);
            }
            out.extend(&one);
            // At most 255, as was just made sure.
            out[start - 1] = (out.len() - start) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_must_add_up() {
        assert_eq!(parse(&[]), Some(vec![]));
        assert_eq!(parse(&[1, 1, 9, 2, 0]), Some(vec![(1, &[9][..]), (2, &[])]));
        assert_eq!(parse(&[1, 2, 9]), None);
        assert_eq!(parse(&[1, 1, 9, 255]), None);
    }

    #[test]
    fn a_number_alone_is_a_block() {
        assert_eq!(enterprises(&[0, 0, 0, 7]).collect::<Vec<_>>(), [(7, &[][..])]);
        let two = [0, 0, 0, 7, 1, 9, 0, 0, 0, 8, 0];
        assert_eq!(enterprises(&two).collect::<Vec<_>>(), [(7, &[9][..]), (8, &[])]);
        assert_eq!(enterprises(&[0, 0, 0, 7, 2, 9]).count(), 0);
    }

    proptest! {
        #[test]
        fn what_put_wrote_parse_reads(given in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..600)), 0..6,
        )) {
            let mut bytes = Vec::new();
            given.iter().for_each(|(code, value)| put(&mut bytes, *code, value));
            let read = parse(&bytes).unwrap();
            let joined = |code: u8| read.iter().filter(|(c, _)| *c == code).flat_map(|(_, v)| v.to_vec()).collect::<Vec<u8>>();
            for (code, _) in &given {
                let all: Vec<u8> = given.iter().filter(|(c, _)| c == code).flat_map(|(_, v)| v.clone()).collect();
                prop_assert_eq!(joined(*code), all);
            }
        }

        #[test]
        fn blocks_of_an_enterprise_hold_whole_options(given in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8,
        ), number in 1u32..) {
            let mut bytes = Vec::new();
            put_enterprise(&mut bytes, number, given.iter().map(|(code, value)| (*code, &**value)));
            let mut read: Vec<(u8, Vec<u8>)> = Vec::new();
            let mut len = 0;
            for (of, block) in enterprises(&bytes) {
                prop_assert_eq!(of, number);
                len += 5 + block.len();
                for (code, value) in parse(block).unwrap() {
                    read.push((code, value.to_vec()));
                }
            }
            prop_assert_eq!(len, bytes.len());
            let flat = |list: &[(u8, Vec<u8>)], code: u8| list.iter().filter(|(c, _)| *c == code).flat_map(|(_, v)| v.clone()).collect::<Vec<u8>>();
            for (code, _) in &given {
                prop_assert_eq!(flat(&read, *code), flat(&given, *code));
            }
        }

        #[test]
        fn no_bytes_make_them_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
            prop_assert!(enterprises(&bytes).count() <= bytes.len());
        }
    }
}
