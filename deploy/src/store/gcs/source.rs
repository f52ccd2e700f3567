//! What is uploaded: a file, read as the wire takes it.

use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use google_cloud_storage::streaming_source::{Seek, SizeHint, StreamingSource};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// How much is read at a time.
const PIECE: usize = 128 << 10;

/// A file on its way up, and how far it has come.
pub(super) struct FileSource {
    file: File,
    size: u64,
    position: u64,
    sent: Arc<AtomicU64>,
}

impl FileSource {
    /// `file` from its beginning; it has `size` bytes. The second value counts those that were
    /// taken by the wire; after a broken connection it goes back to those that arrived.
    pub(super) fn new(file: File, size: u64) -> (Self, Arc<AtomicU64>) {
        let sent = Arc::new(AtomicU64::new(0));
        (Self { file, size, position: 0, sent: sent.clone() }, sent)
    }
}

impl StreamingSource for FileSource {
    type Error = std::io::Error;

    async fn next(&mut self) -> Option<Result<Bytes, Self::Error>> {
        // Asked for the next piece: the ones before it have gone.
        self.sent.store(self.position, Ordering::Relaxed);
        let left = self.size - self.position;
        if left == 0 {
            return None;
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        if let Err(error) = self.file.read_exact(&mut piece).await {
            return Some(Err(error));
        }
        self.position += piece.len() as u64;
        Some(Ok(piece.into()))
    }

    async fn size_hint(&self) -> Result<SizeHint, Self::Error> {
        Ok(SizeHint::with_exact(self.size - self.position))
    }
}

impl Seek for FileSource {
    type Error = std::io::Error;

    async fn seek(&mut self, offset: u64) -> Result<(), Self::Error> {
        if offset != self.position {
            tracing::debug!(offset, size = self.size, "the upload is resumed");
            self.file.seek(SeekFrom::Start(offset)).await?;
            self.position = offset;
        }
        self.sent.store(offset, Ordering::Relaxed);
        Ok(())
    }
}
