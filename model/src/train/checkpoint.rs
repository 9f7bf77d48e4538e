//! A training run's state on disk, so that a run that was stopped or killed goes on where it was.
//!
//! - `checkpoint`: the state after the last step that was kept
//! - `checkpoint.new`: the one being written; nothing until it is renamed
//!
//! A file holds, little-endian: the line `retmask-training/1`, the length of the reports and the reports, the number of
//! parameters, per parameter the number of its values, the values, and the optimiser's first and second moments (f32);
//! last the blake3 digest of everything before. Floats are kept by their bits. A file whose digest does not fit is
//! never taken.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::AdamW;
use super::run::{Measured, Observer, StepReport};
use crate::decoder::{Decoder, Parameter};
use crate::ops::with_values;
use crate::{ModelError, ModelResult};

const MAGIC: &[u8] = b"retmask-training/1\n";
/// Bytes handed to the disk at once.
const BUFFER: usize = 1 << 20;
/// Values converted at once.
const VALUES: usize = 1 << 14;
const DIGEST: usize = blake3::OUT_LEN;

/// Where checkpoints are kept, and how often.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    interval: Duration,
    last: Instant,
    /// Steps done at the checkpoint that is kept.
    held: usize,
}

/// Why a checkpoint cannot be taken.
type Refusal = String;

impl Checkpoints {
    /// Checkpoints in a folder, made with the first of them, that belongs to this run's data and settings alone: what lies there is taken
    /// for an earlier state of the same run. One is written at the first end of a step that comes `interval` after the
    /// last.
    pub fn new(folder: impl Into<PathBuf>, interval: Duration) -> Self {
        Self { folder: folder.into(), interval, last: Instant::now(), held: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join("checkpoint.new")
    }

    pub(super) fn are_due(&self) -> bool {
        self.last.elapsed() >= self.interval
    }

    /// Whether what is kept is the state after this many steps; nothing need be kept of none.
    pub(super) fn hold(&self, steps: usize) -> bool {
        self.held == steps
    }

    /// Takes the state that an earlier run kept, if there is a sound one, and gives its reports. A damaged one is
    /// removed, and said to the observer.
    ///
    /// # Errors
    /// `Environment` when the disk cannot be read.
    pub(super) fn resume(
        &mut self,
        decoder: &Decoder,
        optimiser: &mut AdamW,
        observer: &mut dyn Observer,
    ) -> ModelResult<Option<Vec<StepReport>>> {
        self.last = Instant::now();
        let path = self.path();
        let failed = |error: &io::Error| environment("read the checkpoint", &path, error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        match read(&file, decoder, optimiser, &failed)? {
            Ok(reports) => {
                self.held = reports.len();
                Ok(Some(reports))
            }
            Err(refusal) => {
                observer.note(&format!("the checkpoint of an earlier run is not used: {refusal}"));
                fs::remove_file(&path).map_err(|error| environment("remove the checkpoint", &path, &error))?;
                Ok(None)
            }
        }
    }

    /// Puts the state in the place of the one before. Where that fails (a full disk, say) the former one stays, the
    /// observer is told and training goes on: results do not depend on checkpoints.
    pub(super) fn keep(
        &mut self,
        decoder: &Decoder,
        optimiser: &AdamW,
        reports: &[StepReport],
        observer: &mut dyn Observer,
    ) {
        let began = Instant::now();
        match self.write(decoder, optimiser, reports) {
            Ok(bytes) => {
                self.held = reports.len();
                let (megabytes, seconds) = (bytes as f64 / 1e6, began.elapsed().as_secs_f64());
                let steps = reports.len();
                observer.note(&format!("checkpoint after step {steps}: {megabytes:.1} MB in {seconds:.1} s"));
            }
            Err(error) => {
                // What is left of it would only take space.
                let _ = fs::remove_file(self.unfinished());
                observer.note(&format!("no checkpoint after step {}: {}", reports.len(), error.message));
            }
        }
        self.last = Instant::now();
    }

    fn write(&self, decoder: &Decoder, optimiser: &AdamW, reports: &[StepReport]) -> ModelResult<u64> {
        fs::create_dir_all(&self.folder).map_err(|error| environment("make the folder", &self.folder, &error))?;
        let (path, unfinished) = (self.path(), self.unfinished());
        let failed = |error: io::Error| environment("write the checkpoint", &unfinished, &error);
        let mut sink = Digesting::new(BufWriter::with_capacity(BUFFER, File::create(&unfinished).map_err(failed)?));
        let reports = reports_to_bytes(reports);
        let parameters = decoder.parameters()?;
        let header = [MAGIC, &length(reports.len()), &reports, &length(parameters.len())].concat();
        sink.write_all(&header).map_err(failed)?;
        for (parameter, moments) in parameters.iter().zip(&optimiser.moments) {
            sink.write_all(&length(moments.first.len())).map_err(failed)?;
            with_values(parameter.variable.as_tensor(), |values| write_values(&mut sink, values))?.map_err(failed)?;
            write_values(&mut sink, &moments.first).map_err(failed)?;
            write_values(&mut sink, &moments.second).map_err(failed)?;
        }
        let (bytes, mut inner) = (sink.bytes, sink.inner);
        inner.write_all(sink.hasher.finalize().as_bytes()).map_err(failed)?;
        let file = inner.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(|error| environment("put in place", &path, &error))?;
        let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
        folder.map_err(|error| environment("sync", &self.folder, &error))?;
        Ok(bytes + DIGEST as u64)
    }
}

fn environment(what: &str, path: &Path, error: &io::Error) -> ModelError {
    ModelError::environment(format!("cannot {what} {}: {error}", path.display()))
}

fn length(value: usize) -> [u8; 8] {
    (value as u64).to_le_bytes()
}

/// Passes everything on and digests it.
struct Digesting<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W> Digesting<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write_values(sink: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * VALUES.min(values.len()));
    for values in values.chunks(VALUES) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        sink.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads twice: first for the digest, so that nothing of a damaged file gets into the model.
fn read(
    mut file: &File,
    decoder: &Decoder,
    optimiser: &mut AdamW,
    failed: &dyn Fn(&io::Error) -> ModelError,
) -> ModelResult<Result<Vec<StepReport>, Refusal>> {
    let failed = |error: io::Error| failed(&error);
    let size = file.metadata().map_err(failed)?.len();
    let Some(content) = size.checked_sub(DIGEST as u64) else { return Ok(Err("it is cut short".into())) };
    let mut source = BufReader::with_capacity(BUFFER, file);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(source.by_ref().take(content)).map_err(failed)?;
    let mut digest = [0; DIGEST];
    source.read_exact(&mut digest).map_err(failed)?;
    if *hasher.finalize().as_bytes() != digest {
        return Ok(Err("its digest does not fit: it is damaged".into()));
    }
    file.rewind().map_err(failed)?;
    let mut source = Source { inner: BufReader::with_capacity(BUFFER, file).take(content) };
    let parameters = decoder.parameters()?;
    let Some(reports) = source.reports(&parameters).map_err(failed)? else {
        return Ok(Err("it was written by another version of this program".into()));
    };
    for (parameter, moments) in parameters.iter().zip(&mut optimiser.moments) {
        let count = moments.first.len();
        if source.length().map_err(failed)? != count as u64 {
            return Err(ModelError::internal(format!("{} has another size in its checkpoint", parameter.name)));
        }
        let values = Tensor::from_vec(source.values(count).map_err(failed)?, parameter.variable.shape(), &Device::Cpu)?;
        parameter.variable.set(&values)?;
        moments.first = source.values(count).map_err(failed)?;
        moments.second = source.values(count).map_err(failed)?;
    }
    optimiser.step =
        i32::try_from(reports.len()).map_err(|_| ModelError::internal("a checkpoint has too many steps"))?;
    Ok(Ok(reports))
}

/// The content of a file whose digest fits.
struct Source<R> {
    inner: io::Take<R>,
}

impl<R: Read> Source<R> {
    /// All before the parameters; `None` unless exactly these parameters follow.
    fn reports(&mut self, parameters: &[Parameter]) -> io::Result<Option<Vec<StepReport>>> {
        if self.bytes(MAGIC.len() as u64)? != MAGIC {
            return Ok(None);
        }
        let count = self.length()?;
        let reports = reports_from_bytes(&self.bytes(count)?);
        let same = self.length()? == parameters.len() as u64;
        let following: u64 = parameters.iter().map(|parameter| 8 + 12 * parameter.variable.elem_count() as u64).sum();
        Ok(reports.filter(|_| same && self.inner.limit() == following))
    }

    /// At most what is there.
    fn bytes(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.inner.by_ref().take(count).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.inner.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn values(&mut self, count: usize) -> io::Result<Vec<f32>> {
        let mut values = Vec::with_capacity(count);
        let mut bytes = vec![0; 4 * VALUES.min(count)];
        while values.len() < count {
            let bytes = &mut bytes[..4 * VALUES.min(count - values.len())];
            self.inner.read_exact(bytes)?;
            values.extend(
                bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])),
            );
        }
        Ok(values)
    }
}

/// Numbers of 8 bytes each: the count of reports, then each report's fields; lists and what may be missing begin with
/// their length.
fn reports_to_bytes(reports: &[StepReport]) -> Vec<u8> {
    let mut words: Vec<u64> = vec![reports.len() as u64];
    let list = |words: &mut Vec<u64>, values: &[f64]| {
        words.push(values.len() as u64);
        words.extend(values.iter().map(|value| value.to_bits()));
    };
    for report in reports {
        let StepReport { step, loss, grad_norm, learning_rate, tokens, flops, statistics, evaluation } = report;
        words.extend([*step as u64, *tokens]);
        words.extend([loss, grad_norm, learning_rate, flops].map(|value| value.to_bits()));
        list(&mut words, statistics);
        words.push(u64::from(evaluation.is_some()));
        if let Some(Measured { loss, statistics }) = evaluation {
            words.push(loss.to_bits());
            list(&mut words, statistics);
        }
    }
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn reports_from_bytes(bytes: &[u8]) -> Option<Vec<StepReport>> {
    let mut words = bytes.chunks_exact(8).map_while(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    let mut next = || words.next();
    let count = next()?;
    let mut reports = Vec::new();
    for _ in 0..count {
        let (step, tokens) = (usize::try_from(next()?).ok()?, next()?);
        let [loss, grad_norm, learning_rate, flops] = [next()?, next()?, next()?, next()?].map(f64::from_bits);
        let statistics = list(&mut next)?;
        let evaluation = match next()? {
            0 => None,
            _ => Some(Measured { loss: f64::from_bits(next()?), statistics: list(&mut next)? }),
        };
        reports.push(StepReport { step, loss, grad_norm, learning_rate, tokens, flops, statistics, evaluation });
    }
    Some(reports)
}

fn list(next: &mut dyn FnMut() -> Option<u64>) -> Option<Vec<f64>> {
    let count = next()?;
    (0..count).map(|_| next().map(f64::from_bits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_they_were_written_to_the_bit() {
        let measured = Measured { loss: f64::MIN_POSITIVE, statistics: vec![1.0 / 3.0, -0.0] };
        let report = |step, evaluation| StepReport {
            step,
            loss: std::f64::consts::LN_2,
            grad_norm: 0.1 + 0.2,
            learning_rate: 5e-7,
            tokens: u64::MAX,
            flops: 1e18,
            statistics: vec![-1e-300, 7.0],
            evaluation,
        };
        let reports = vec![report(1, None), report(2, Some(measured))];
        let bytes = reports_to_bytes(&reports);
        assert_eq!(reports_from_bytes(&bytes), Some(reports));
        for cut in 0..bytes.len() {
            assert_eq!(reports_from_bytes(&bytes[..cut]), None, "{cut}");
        }
    }
}
