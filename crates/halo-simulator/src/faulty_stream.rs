//! Delivery of a response over a connection: complete, slow, truncated, or as a reset.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::generated::BodyStream;
use crate::message::{ApiResponse, Delivery};

/// Maximum size of a request body: a token form has a few hundred bytes, a raw row for `/_sim` may be large.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Delay between a truncated body and the end of the connection, so that the part before the cut is really sent.
const CUT_DELAY: Duration = Duration::from_millis(10);
/// Number of chunks of a slow body.
const SLOW_CHUNKS: u64 = 50;
/// Size of the chunks of a body that is generated while it is sent.
const STREAM_CHUNK: usize = 64 * 1024;

/// A connection that its [`ResetHandle`] can reset.
#[derive(Debug)]
pub(crate) struct FaultyStream {
    stream: TcpStream,
    reset_handle: ResetHandle,
}

/// Resets a connection at its next write.
#[derive(Clone, Debug)]
pub(crate) struct ResetHandle(Arc<AtomicBool>);

impl ResetHandle {
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl FaultyStream {
    pub(crate) fn new(stream: TcpStream) -> FaultyStream {
        FaultyStream { stream, reset_handle: ResetHandle(Arc::new(AtomicBool::new(false))) }
    }

    pub(crate) fn reset_handle(&self) -> ResetHandle {
        self.reset_handle.clone()
    }

    fn reset_error(&self) -> Option<io::Error> {
        self.reset_handle.0.load(Ordering::Acquire).then(|| {
            // Without lingering, closing the socket sends a reset.
            let _ = self.stream.set_zero_linger();
            io::Error::from(io::ErrorKind::ConnectionReset)
        })
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.reset_error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.reset_error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A response body in transit.
pub(crate) struct FaultyBody {
    remaining: Bytes,
    /// What follows `remaining`, generated when it is needed.
    rest: Option<BodyStream>,
    /// Bytes that are sent before the body is cut.
    limit: u64,
    /// Bytes of the announced length that were not sent yet; `None` if no length was announced.
    unsent: Option<u64>,
    chunk_size: usize,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl FaultyBody {
    /// Generates the next bytes if there are none.
    fn refill(&mut self) {
        if self.limit == 0 {
            self.remaining.clear();
            self.rest = None;
        } else if self.remaining.is_empty()
            && let Some(rest) = &mut self.rest
        {
            self.remaining = Bytes::from(rest.next_chunk(self.chunk_size));
            if self.remaining.is_empty() {
                self.rest = None;
            }
        }
    }
}

impl Body for FaultyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.refill();
        if self.remaining.is_empty() {
            if self.unsent.is_none_or(|unsent| unsent == 0) {
                return Poll::Ready(None);
            }
            let (_, pause) = self.pause.get_or_insert_with(|| (CUT_DELAY, Box::pin(sleep(CUT_DELAY))));
            ready!(pause.as_mut().poll(cx));
            // An error makes hyper close the connection before the announced length is reached.
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))));
        }
        if let Some((interval, pause)) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            let interval = *interval;
            *pause = Box::pin(sleep(interval));
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let size = self.chunk_size.min(self.remaining.len()).min(limit);
        let frame = self.remaining.split_to(size);
        let sent = length_of(frame.len());
        self.limit = self.limit.saturating_sub(sent);
        self.unsent = self.unsent.map(|unsent| unsent.saturating_sub(sent));
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_empty() && self.unsent.map_or(self.rest.is_none(), |unsent| unsent == 0)
    }

    fn size_hint(&self) -> SizeHint {
        self.unsent.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn length_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Converts to an HTTP response.
pub(crate) fn http_response(mut api_response: ApiResponse) -> Response<FaultyBody> {
    let length = api_response.body_length();
    let (remaining, rest) = match api_response.take_stream() {
        Some(stream) => (Bytes::new(), Some(stream)),
        None => (Bytes::from(mem::take(&mut api_response.body)), None),
    };
    let is_compressed = rest.as_ref().is_some_and(BodyStream::is_compressed);
    let mut body = FaultyBody {
        chunk_size: if rest.is_some() { STREAM_CHUNK } else { remaining.len().max(1) },
        remaining,
        rest,
        limit: u64::MAX,
        unsent: (!is_compressed).then_some(length),
        pause: None,
    };
    match api_response.delivery {
        Delivery::Complete | Delivery::Reset => {}
        Delivery::Cut(after) => body.limit = length_of(after),
        Delivery::Slow(duration) => {
            let chunk_size = length.div_ceil(SLOW_CHUNKS).max(1);
            let chunks = u32::try_from(length.div_ceil(chunk_size)).unwrap_or(1);
            let interval = duration / chunks.max(1);
            body.chunk_size = usize::try_from(chunk_size).unwrap_or(usize::MAX);
            body.pause = Some((interval, Box::pin(sleep(interval))));
        }
    }
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(api_response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in api_response.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Reads a request body, up to [`REQUEST_BYTES_MAX`] or the first error.
pub(crate) async fn read_body(mut incoming: Incoming) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        if let Some(data) = frame.data_ref() {
            if body.len() + data.len() > REQUEST_BYTES_MAX {
                break;
            }
            body.extend_from_slice(data);
        }
    }
    body
}
