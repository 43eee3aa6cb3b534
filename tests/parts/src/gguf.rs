//! Writes the GGUF container, version 3: header, typed keys and values, tensor table, aligned data, all little-endian.
//!
//! Format: the GGUF page in the documentation of the ggml project, as of November 2026.

/// Tensor data starts at, and each tensor is padded to, a multiple of this many bytes: the format's default.
const ALIGNMENT: usize = 32;

const TYPE_U32: u32 = 4;
const TYPE_I32: u32 = 5;
const TYPE_F32: u32 = 6;
const TYPE_BOOL: u32 = 7;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

/// Tensors of 32-bit floats.
const TENSOR_F32: u32 = 0;

/// A file being put together.
#[derive(Default)]
pub(crate) struct Writer {
    keys: u64,
    key_bytes: Vec<u8>,
    tensors: u64,
    table: Vec<u8>,
    data: Vec<u8>,
}

impl Writer {
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key, TYPE_STRING);
        string(&mut self.key_bytes, value);
    }

    pub(crate) fn number(&mut self, key: &str, value: u32) {
        self.key(key, TYPE_U32);
        self.key_bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) {
        self.key(key, TYPE_F32);
        self.key_bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.key(key, TYPE_BOOL);
        self.key_bytes.push(u8::from(value));
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) {
        self.array(key, TYPE_STRING, values.len());
        for value in values {
            string(&mut self.key_bytes, value);
        }
    }

    pub(crate) fn floats(&mut self, key: &str, values: &[f32]) {
        self.array(key, TYPE_F32, values.len());
        self.key_bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(crate) fn integers(&mut self, key: &str, values: &[i32]) {
        self.array(key, TYPE_I32, values.len());
        self.key_bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Adds a tensor of `values` in rows of `shape`'s last number. The format names the fastest-running dimension first.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        self.tensors += 1;
        string(&mut self.table, name);
        self.table.extend(length32(shape.len()).to_le_bytes());
        for &size in shape.iter().rev() {
            self.table.extend(length64(size).to_le_bytes());
        }
        self.table.extend(TENSOR_F32.to_le_bytes());
        self.table.extend(length64(self.data.len()).to_le_bytes());
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        pad(&mut self.data);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend(self.tensors.to_le_bytes());
        file.extend(self.keys.to_le_bytes());
        file.extend(self.key_bytes);
        file.extend(self.table);
        pad(&mut file);
        file.extend(self.data);
        file
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.keys += 1;
        string(&mut self.key_bytes, key);
        self.key_bytes.extend(kind.to_le_bytes());
    }

    fn array(&mut self, key: &str, kind: u32, length: usize) {
        self.key(key, TYPE_ARRAY);
        self.key_bytes.extend(kind.to_le_bytes());
        self.key_bytes.extend(length64(length).to_le_bytes());
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(length64(text.len()).to_le_bytes());
    out.extend(text.as_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

fn length64(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}

fn length32(length: usize) -> u32 {
    u32::try_from(length).expect("tensors have a handful of dimensions")
}

#[cfg(test)]
mod tests {
    use super::Writer;

    #[test]
    fn the_container_is_laid_out_as_documented() {
        let mut writer = Writer::default();
        writer.number("n", 7);
        writer.tensor("t", &[1, 2], &[1.0, -2.0]);
        let file = writer.finish();
        let mut expected = b"GGUF\x03\0\0\0".to_vec();
        expected.extend(b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"); // one tensor, one key
        expected.extend(b"\x01\0\0\0\0\0\0\0n\x04\0\0\0\x07\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        expected.resize(96, 0);
        expected.extend(b"\0\0\x80\x3f\0\0\0\xc0");
        expected.resize(128, 0);
        assert_eq!(file, expected);
    }
}
