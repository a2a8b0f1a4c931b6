//! Bytes as hexadecimal digits. Pure.

/// Two lower-case digits a byte.
pub(crate) fn digits(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
