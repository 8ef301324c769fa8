//! Delivery of a response over a connection: complete, slow, truncated, or as a reset.

use std::future::poll_fn;
use std::io;
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

use crate::message::{ApiResponse, Delivery};

/// Maximum size of a request body: a token form has a few hundred bytes, a raw row for `/_sim` may be large.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Delay between a truncated body and the end of the connection, so that the part before the cut is really sent.
const CUT_DELAY: Duration = Duration::from_millis(10);
/// Number of chunks of a slow body.
const SLOW_CHUNKS: usize = 50;

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
    /// Bytes of the announced length that are not sent.
    withheld: u64,
    chunk_size: usize,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Body for FaultyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.remaining.is_empty() {
            if self.withheld == 0 {
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
        let size = self.chunk_size.min(self.remaining.len());
        let frame = Frame::data(self.remaining.split_to(size));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_empty() && self.withheld == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            u64::try_from(self.remaining.len()).unwrap_or(u64::MAX).saturating_add(self.withheld),
        )
    }
}

/// Converts to an HTTP response.
pub(crate) fn http_response(api_response: ApiResponse) -> Response<FaultyBody> {
    let length = api_response.body.len();
    let mut remaining = Bytes::from(api_response.body);
    let mut body = match api_response.delivery {
        Delivery::Complete | Delivery::Reset => {
            FaultyBody { remaining, withheld: 0, chunk_size: length, pause: None }
        }
        Delivery::Cut(after) => {
            remaining.truncate(after);
            let withheld = u64::try_from(length - remaining.len()).unwrap_or(0);
            FaultyBody { remaining, withheld, chunk_size: length, pause: None }
        }
        Delivery::Slow(duration) => {
            let chunk_size = length.div_ceil(SLOW_CHUNKS);
            let chunks = u32::try_from(length.div_ceil(chunk_size.max(1))).unwrap_or(1);
            let interval = duration / chunks.max(1);
            FaultyBody {
                remaining,
                withheld: 0,
                chunk_size,
                pause: Some((interval, Box::pin(sleep(interval)))),
            }
        }
    };
    body.chunk_size = body.chunk_size.max(1);
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
