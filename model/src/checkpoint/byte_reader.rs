//! Reads little-endian fields from untrusted bytes; no length is believed before it is checked.

/// Why a file is refused; the caller adds which file.
pub(crate) type Reason = String;

/// A cursor over a file's bytes. Every read is checked against what is left, and nothing is allocated
/// from a stated length.
#[derive(Clone)]
pub(crate) struct ByteReader<'bytes> {
    bytes: &'bytes [u8],
    position: usize,
}

macro_rules! little_endian {
    ($($name:ident: $kind:ty),*) => {$(
        pub fn $name(&mut self, what: &str) -> Result<$kind, Reason> {
            self.array(what).map(<$kind>::from_le_bytes)
        }
    )*};
}

impl<'bytes> ByteReader<'bytes> {
    pub fn new(bytes: &'bytes [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// A cursor that starts at `position`, which a previous cursor over the same bytes reached.
    pub fn at(bytes: &'bytes [u8], position: usize) -> Self {
        Self { bytes, position: position.min(bytes.len()) }
    }

    /// Where the next read starts.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes follow.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    little_endian!(u8: u8, u16: u16, u32: u32, u64: u64, i8: i8, i16: i16, i32: i32, i64: i64, f32: f32, f64: f64);

    /// The next `length` bytes.
    pub fn take(&mut self, length: u64, what: &str) -> Result<&'bytes [u8], Reason> {
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes[self.position..].get(..length))
            .ok_or_else(|| {
                format!(
                    "{what} at byte {} takes {length} bytes, but only {} are left: the file is truncated or lies",
                    self.position,
                    self.remaining()
                )
            })?;
        self.position += taken.len();
        Ok(taken)
    }

    /// A string with its length before it, in UTF-8.
    pub fn text(&mut self, what: &str) -> Result<&'bytes str, Reason> {
        let start = self.position;
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|error| format!("{what} at byte {start} is not UTF-8: {error}"))
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Reason> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }
}
