//! Words of `dhcpd.leases`. Pure.

use std::fmt;

/// One word, and the line that it begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub line: u32,
}

/// Its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Anything between blanks and punctuation.
    Word(String),
    /// Between quotation marks, escapes resolved: any bytes.
    Text(Vec<u8>),
    Open,
    Close,
    Semicolon,
    /// `=`, `,`, brackets: they matter inside of values that are passed over.
    Other(u8),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Word(word) => write!(f, "'{word}'"),
            Kind::Text(bytes) => write!(f, "\"{}\"", String::from_utf8_lossy(bytes)),
            Kind::Open => f.write_str("'{'"),
            Kind::Close => f.write_str("'}'"),
            Kind::Semicolon => f.write_str("';'"),
            Kind::Other(byte) => write!(f, "'{}'", char::from(*byte)),
        }
    }
}

/// The words of a text, one after the other.
#[derive(Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    /// Of `text`, whose first line is 1.
    pub fn new(text: &'a [u8]) -> Lexer<'a> {
        Lexer { text, at: 0, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.bump();
                    }
                }
                _ if byte.is_ascii_whitespace() => {
                    self.bump();
                }
                _ => return,
            }
        }
    }

    /// A text in quotation marks. One that never ends takes the rest of the file.
    fn text(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(byte) = self.bump() {
            match byte {
                b'"' => break,
                b'\\' => bytes.extend(self.escape()),
                _ => bytes.push(byte),
            }
        }
        bytes
    }

    /// What stands behind a backslash: three octal digits, `x` and two hexadecimal ones, a letter for a
    /// control character, or itself.
    fn escape(&mut self) -> Option<u8> {
        let first = self.bump()?;
        match first {
            b'0'..=b'7' => Some(self.digits(u32::from(first - b'0'), 2, 8)),
            b'x' => Some(self.digits(0, 2, 16)),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'b' => Some(8),
            other => Some(other),
        }
    }

    fn digits(&mut self, mut value: u32, most: u32, radix: u32) -> u8 {
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(radix)) else {
                break;
            };
            value = value * radix + digit;
            self.bump();
        }
        value.to_le_bytes()[0]
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blanks();
        let line = self.line;
        let kind = match self.bump()? {
            b'{' => Kind::Open,
            b'}' => Kind::Close,
            b';' => Kind::Semicolon,
            b'"' => Kind::Text(self.text()),
            byte @ (b'=' | b',' | b'(' | b')') => Kind::Other(byte),
            _ => {
                let begin = self.at - 1;
                let ends = |byte: u8| byte.is_ascii_whitespace() || b"{};\"=,()#".contains(&byte);
                while self.peek().is_some_and(|byte| !ends(byte)) {
                    self.bump();
                }
                Kind::Word(String::from_utf8_lossy(&self.text[begin..self.at]).into_owned())
            }
        };
        Some(Token { kind, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &[u8]) -> Vec<Kind> {
        Lexer::new(text).map(|token| token.kind).collect()
    }

    #[test]
    fn words_texts_and_punctuation() {
        let word = |text: &str| Kind::Word(text.into());
        assert_eq!(
            kinds(b"lease 192.0.2.1 {\n  hardware ethernet 00:0a;#}\n set a=\"b;}\";}"),
            [
                word("lease"),
                word("192.0.2.1"),
                Kind::Open,
                word("hardware"),
                word("ethernet"),
                word("00:0a"),
                Kind::Semicolon,
                word("set"),
                word("a"),
                Kind::Other(b'='),
                Kind::Text(b"b;}".to_vec()),
                Kind::Semicolon,
                Kind::Close,
            ]
        );
        let lines: Vec<u32> = Lexer::new(b"a\n\"b\nc\" d").map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn escapes_are_bytes() {
        let text = |text: &[u8]| match &kinds(text)[..] {
            [Kind::Text(bytes)] => bytes.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(br#""\001\000\014)\352\"\\""#), [1, 0, 12, b')', 0xea, b'"', b'\\']);
        assert_eq!(text(br#""\1x\x0ag\n\777""#), [1, b'x', 10, b'g', b'\n', 0xff]);
        assert_eq!(text(br#""never ends"#), b"never ends");
        assert_eq!(text(b"\"\\"), b"");
    }
}
