//! Who may sign: a file with one public key a line, 64 hexadecimal digits and a name; `#` begins a comment.

use ed25519_dalek::VerifyingKey;

/// A public key that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose it is.
    pub name: String,
    /// The key.
    pub key: VerifyingKey,
}

/// What is wrong with the file of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}:{line}: expected 64 hexadecimal digits of an Ed25519 public key and a name, found \"{found}\""
)]
pub struct KeysError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What stands there.
    pub found: String,
}

/// Reads the file's text; `file` names it in errors.
pub fn parse(file: &str, text: &str) -> Result<Vec<Key>, KeysError> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (digits, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let key = unhex(digits).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        match key {
            Some(key) if !name.trim().is_empty() => keys.push(Key { name: name.trim().to_owned(), key }),
            _ => return Err(KeysError { file: file.to_owned(), line: index + 1, found: line.to_owned() }),
        }
    }
    Ok(keys)
}

/// Hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 64 hexadecimal digits.
pub fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    #[test]
    fn keys_have_names_and_a_bad_line_is_named() {
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        let text = format!("# trusted\n\n{} release 2026 # until 2028\n", hex(key.as_bytes()));
        assert_eq!(parse("k", &text).unwrap(), [Key { name: "release 2026".into(), key }]);
        for wrong in ["12 short", "zz", &hex(key.as_bytes())] {
            let error = parse("update.keys", &format!("\n{wrong}\n")).unwrap_err();
            assert_eq!((error.line, error.found.as_str()), (2, wrong));
        }
        assert_eq!(parse("k", "").unwrap(), []);
    }
}
