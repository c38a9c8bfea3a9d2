// A query written as words, for scripts and tables of packets:
//
//     request hw=02:00:00:00:00:01 50=192.0.2.10 54=192.0.2.1 55=1,3,6 broadcast
//
// The first word is the message type, or `bare` for none. Then, in any order:
// `xid=HEX hw=MAC htype=N broadcast secs=N hops=N ciaddr=IP giaddr=IP`, `NN=VALUE` for an option (options
// stand in the order of the words), `raw=HEX` for bytes among the options, `@NN=HEX` for header
// bytes, `file=HEX sname=HEX`, `cut=N` to keep N bytes, `noend` for no End and no padding.
// A VALUE is an address, `'text'`, `#N` (four bytes), `N,N` (a byte each), `HH*N` (repeated), or hex.
//
// The file is included by whoever needs it, with `MessageType`, `Query` and `HwAddr` in scope.

/// The datagram that the words describe, or what is wrong with them.
fn datagram(words: &[&str]) -> Result<Vec<u8>, String> {
    let (kind, words) = words.split_first().ok_or("no words")?;
    let word = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let hw =
        word("hw").unwrap_or("02:00:00:00:00:01").parse::<HwAddr>().map_err(|e| e.to_string())?;
    let htype = word("htype").map_or(Ok(1), str::parse).map_err(|_| "htype is a number")?;
    let hw = HwAddr::new(htype, hw.bytes()).map_err(|e| e.to_string())?;
    let xid = u32::from_str_radix(word("xid").unwrap_or("1"), 16).map_err(|e| e.to_string())?;
    let mut query = match *kind {
        "bare" => Query::bare(xid, hw),
        kind => {
            let same = |message: &&MessageType| message.name().eq_ignore_ascii_case(kind);
            let message = MessageType::ALL.iter().find(same).ok_or(format!("no message {kind}"))?;
            Query::new(*message, xid, hw)
        }
    };
    let (mut cut, mut end) = (usize::MAX, true);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u16>().map_err(|_| format!("{word}: not a number"));
        query = match key {
            "xid" | "hw" | "htype" => query,
            "broadcast" => query.broadcast(),
            "secs" => query.secs(number()?),
            "hops" => query.hops(number()? as u8),
            "ciaddr" => query.ciaddr(value.parse().map_err(|_| format!("{word}: no address"))?),
            "giaddr" => query.giaddr(value.parse().map_err(|_| format!("{word}: no address"))?),
            "raw" => query.raw(&bytes(value)?),
            "file" => query.file(&bytes(value)?),
            "sname" => query.sname(&bytes(value)?),
            "cut" => {
                cut = number()?.into();
                query
            }
            "noend" => {
                end = false;
                query
            }
            key => match (key.parse::<u8>(), key.strip_prefix('@').map(str::parse::<usize>)) {
                (Ok(code), _) => query.option(code, &bytes(value)?),
                (_, Some(Ok(at))) => query.bytes_at(at, &bytes(value)?),
                _ => return Err(format!("unknown word {word}")),
            },
        };
    }
    let mut datagram = if end { query.encode() } else { query.without_end() };
    datagram.truncate(cut);
    Ok(datagram)
}

/// The bytes of a VALUE.
fn bytes(value: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("{value}: not a value");
    if let Ok(address) = value.parse::<std::net::Ipv4Addr>() {
        return Ok(address.octets().to_vec());
    }
    if let Some(text) = value.strip_prefix('\'') {
        return Ok(text.strip_suffix('\'').ok_or_else(bad)?.as_bytes().to_vec());
    }
    if let Some(number) = value.strip_prefix('#') {
        return Ok(number.parse::<u32>().map_err(|_| bad())?.to_be_bytes().to_vec());
    }
    if value.contains(',') {
        return value.split(',').map(|byte| byte.parse().map_err(|_| bad())).collect();
    }
    if let Some((byte, times)) = value.split_once('*') {
        return Ok(bytes(byte)?.repeat(times.parse().map_err(|_| bad())?));
    }
    let digits: String = value.chars().filter(|digit| *digit != ':').collect();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err(bad());
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| bad()))
        .collect()
}
