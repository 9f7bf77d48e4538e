//! Looking at everything in the store.

use std::path::Path;

use super::blobs::BlobState;
use super::records::list;
use super::{Store, Verify};
use crate::CacheResult;

/// What was found in a whole store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Sound records whose outputs are all there.
    pub records: u64,
    /// Sound blobs.
    pub blobs: u64,
    /// Bytes of the sound blobs.
    pub bytes: u64,
    /// What is wrong, a sentence each. Damaged files were put aside.
    pub problems: Vec<String>,
}

impl Store {
    /// Reads every blob and record and compares each with its digest, whatever is remembered. What is damaged is
    /// put aside, and so is made again when next wanted.
    ///
    /// # Errors
    /// Environment: the store cannot be read, or a damaged file cannot be put aside.
    pub fn check(&self) -> CacheResult<Check> {
        let mut check = Check::default();
        for fan_out in list(&self.layout().blobs())? {
            if !fan_out.is_dir() {
                check.problems.push(format!("{} does not belong into the store", fan_out.display()));
            }
            for path in list(&fan_out)? {
                self.check_blob(&path, &mut check)?;
            }
        }
        self.memo().save();
        self.each_record(|found| {
            let lost = match found {
                Ok(record) => self.first_lost(&record, None)?.map(|reason| format!("{}: {reason}", record.key)),
                Err(reason) => Some(reason.to_string()),
            };
            match lost {
                Some(problem) => check.problems.push(problem),
                None => check.records += 1,
            }
            Ok(())
        })?;
        Ok(check)
    }

    fn check_blob(&self, path: &Path, check: &mut Check) -> CacheResult<()> {
        let digest = path.file_name().and_then(|name| format!("b3:{}", name.to_str()?).parse().ok());
        let Some(digest) = digest.filter(|digest| self.layout().blob(digest) == path) else {
            check.problems.push(format!("{} does not belong into the store", path.display()));
            return Ok(());
        };
        match self.verify_blob_as(&digest, Verify::Always)? {
            BlobState::Sound(size) => {
                check.blobs += 1;
                check.bytes += size;
            }
            // Put aside by another process since it was listed.
            BlobState::Missing => {}
            BlobState::Damaged(quarantined) => {
                check.problems.push(format!("{digest} was damaged; it was put aside as {}", quarantined.display()));
            }
        }
        Ok(())
    }
}
