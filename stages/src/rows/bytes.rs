//! How a row's result is written: numbers little-endian, everything of variable length behind its length.

/// A result of a row.
pub trait RowResult: Sized {
    fn write(&self, bytes: &mut Writer);
    /// What was written; `None` when the bytes are something else.
    fn read(bytes: &mut Reader<'_>) -> Option<Self>;
}

/// Takes a result's parts.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn number(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    /// Every bit of it.
    pub fn real(&mut self, value: f64) {
        self.0.extend(value.to_bits().to_le_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.length(value.len());
        self.0.extend(value.as_bytes());
    }

    pub fn numbers(&mut self, values: &[u32]) {
        self.length(values.len());
        values.iter().for_each(|value| self.number(*value));
    }

    pub fn reals(&mut self, values: &[f64]) {
        self.length(values.len());
        values.iter().for_each(|value| self.real(*value));
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn length(&mut self, length: usize) {
        self.0.extend((length as u64).to_le_bytes());
    }
}

/// Gives a result's parts in the order in which they were written.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub fn real(&mut self) -> Option<f64> {
        self.take().map(u64::from_le_bytes).map(f64::from_bits)
    }

    pub fn text(&mut self) -> Option<String> {
        let length = self.length(1)?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    pub fn numbers(&mut self) -> Option<Vec<u32>> {
        let length = self.length(4)?;
        (0..length).map(|_| self.number()).collect()
    }

    pub fn reals(&mut self) -> Option<Vec<f64>> {
        let length = self.length(8)?;
        (0..length).map(|_| self.real()).collect()
    }

    /// The number of items of so many bytes that follow, if they are all there.
    fn length(&mut self, item: usize) -> Option<usize> {
        let length = usize::try_from(u64::from_le_bytes(self.take()?)).ok()?;
        length.checked_mul(item).filter(|bytes| *bytes <= self.0.len()).map(|_| length)
    }

    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_nothing_else_does() {
        let mut writer = Writer::default();
        writer.byte(3);
        writer.text("ä");
        writer.numbers(&[1, u32::MAX]);
        writer.reals(&[-0.0, f64::MIN_POSITIVE]);
        let bytes = writer.finish();
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let parts = (reader.byte()?, reader.text()?, reader.numbers()?, reader.reals()?);
            reader.is_empty().then_some(parts)
        };
        let (byte, text, numbers, reals) = read(&bytes).unwrap();
        assert_eq!((byte, text.as_str(), numbers.as_slice()), (3, "ä", [1, u32::MAX].as_slice()));
        assert_eq!([reals[0].to_bits(), reals[1].to_bits()], [(-0.0f64).to_bits(), f64::MIN_POSITIVE.to_bits()]);
        assert!((0..bytes.len()).all(|cut| read(&bytes[..cut]).is_none()));
        // A length beyond the bytes allocates nothing.
        assert_eq!(Reader::new(&u64::MAX.to_le_bytes()).numbers(), None);
    }
}
