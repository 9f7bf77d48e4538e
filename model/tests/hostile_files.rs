//! Damaged and lying model files: never a panic, never memory beyond what the file's size explains.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use retmask_model::checkpoint::{Checkpoint, StoredType};
use retmask_model::{Fault, ModelError, ModelResult};
use support::{fixture, write_tiny};

/// Counts live bytes and their peak.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The tests of this file measure memory, so one runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Opens a model and reads everything in it. A 4-bit weight becomes 32 bits, and a directory entry a few times
/// its stored size; 32 bytes for each byte of the file, and 1 MiB for the test's own threads, leave room for
/// that and none for a length that was believed.
fn read_everything(path: &Path, file_bytes: usize) -> ModelResult<()> {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let outcome = Checkpoint::open(path).and_then(|checkpoint| {
        let tensors = checkpoint.spec().tensors();
        // All are read, whether or not one before is damaged.
        let reads: Vec<ModelResult<()>> =
            tensors.iter().map(|tensor| checkpoint.tensor(&tensor.name, &tensor.shape).map(drop)).collect();
        let storage = checkpoint.storage()?;
        let texts = if storage.has_tokenizer { checkpoint.text_assets().map(drop) } else { Ok(()) };
        reads.into_iter().collect::<ModelResult<()>>().and(texts)
    });
    let used = PEAK.load(Ordering::Relaxed) - before;
    let allowed = (1 << 20) + 32 * file_bytes;
    assert!(used <= allowed, "{used} bytes were allocated for a file of {file_bytes}");
    if let Err(ModelError { fault, message, .. }) = &outcome {
        assert_eq!(*fault, Fault::Input, "{message}");
    }
    outcome
}

/// A model under attack: where its file lies, its bytes, and where its header ends.
struct Target {
    folder: tempfile::TempDir,
    file: &'static str,
    bytes: Vec<u8>,
    header: usize,
}

impl Target {
    fn gguf() -> Self {
        let bytes = fs::read(fixture("every-type.gguf")).expect("the fixture");
        // The directory's last entry is the final norm; the data follows within its alignment.
        let name = b"output_norm.weight";
        let last = bytes.windows(name.len()).rposition(|window| window == name).expect("the final norm");
        let header = last + name.len() + 4 + 8 + 4 + 8;
        Self { folder: tempfile::tempdir().expect("a folder"), file: "model.gguf", bytes, header }
    }

    fn safetensors() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_tiny(folder.path(), StoredType::Bf16);
        let bytes = fs::read(folder.path().join("model.safetensors")).expect("weights");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
        Self { folder, file: "model.safetensors", bytes, header: 8 + length as usize }
    }

    fn read(&self, bytes: &[u8]) -> ModelResult<()> {
        let path = self.folder.path().join(self.file);
        // Written over, not truncated first: some file systems flush a file that replaces its content that way.
        let mut file = File::options().create(true).truncate(false).write(true).open(&path).expect("opened");
        file.write_all(bytes).and_then(|()| file.set_len(bytes.len() as u64)).expect("written");
        let model = if self.file.ends_with(".gguf") { &path } else { self.folder.path() };
        read_everything(model, bytes.len().max(self.header))
    }
}

fn targets() -> [Target; 2] {
    [Target::gguf(), Target::safetensors()]
}

#[test]
fn truncated_anywhere_is_refused() {
    let _guard = ONE_AT_A_TIME.lock();
    for target in targets() {
        target.read(&target.bytes).expect("the whole file is a model");
        let inside_data = (target.header..target.bytes.len()).step_by(97);
        for length in (0..target.header).chain(inside_data).chain([target.bytes.len() - 1]) {
            let outcome = target.read(&target.bytes[..length]);
            assert!(outcome.is_err(), "{} cut to {length} bytes was read", target.file);
        }
    }
}

#[test]
fn lengths_and_counts_that_lie_cost_no_memory() {
    let _guard = ONE_AT_A_TIME.lock();
    for target in targets() {
        let mut refused = 0;
        for place in 0..target.header - 8 {
            for lie in [u64::MAX, 1 << 62, 1 << 40, 0x0101_0101_0101_0101, 0] {
                let mut bytes = target.bytes.clone();
                bytes[place..place + 8].copy_from_slice(&lie.to_le_bytes());
                refused += usize::from(target.read(&bytes).is_err());
            }
        }
        // Most of a header is structure; were nearly all lies accepted, nothing would be checked.
        assert!(refused > target.header * 3, "{refused} of {} lies were refused", target.header * 5);
    }
}

#[test]
fn numbers_that_lie_in_a_json_header_are_refused() {
    let _guard = ONE_AT_A_TIME.lock();
    let target = Target::safetensors();
    let digits = (8..target.header).filter(|&place| target.bytes[place].is_ascii_digit());
    let in_numbers = digits.filter(|&place| {
        // Digits of names (`layers.0`) stand after a dot, those of types (`BF16`) after letters.
        let before = target.bytes[..place].iter().rposition(|byte| !byte.is_ascii_digit()).expect("a byte before");
        matches!(target.bytes[before], b'[' | b',')
    });
    let mut lies = 0;
    for place in in_numbers {
        for digit in *b"0123456789" {
            if target.bytes[place] != digit {
                let mut bytes = target.bytes.clone();
                bytes[place] = digit;
                assert!(target.read(&bytes).is_err(), "a changed number at byte {place} was believed");
                lies += 1;
            }
        }
    }
    assert!(lies > 500, "{lies} lies were tried");
}

#[test]
fn random_damage_never_panics() {
    let _guard = ONE_AT_A_TIME.lock();
    for target in targets() {
        let places = prop_oneof![4 => 0..target.header, 1 => 0..target.bytes.len()];
        let damage = vec((places, any::<u8>()), 1..8);
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() });
        let outcome = runner.run(&damage, |flips| {
            let mut bytes = target.bytes.clone();
            for (place, byte) in flips {
                bytes[place] = byte;
            }
            // Damage to the weights themselves may go unseen: what counts is that nothing else happens.
            let _ = target.read(&bytes);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", target.file));
    }
}
