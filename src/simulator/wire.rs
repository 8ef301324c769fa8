//! How an answer goes over a connection: whole, in drops, cut off, or as a reset.

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

use super::message::{Answer, Delivery};

/// The greatest request body that is read; a token form is a few hundred bytes, a raw row for `/_sim` may be large.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a cut body waits before the connection ends, so that what came before the cut is really sent.
const CUT_AFTER: Duration = Duration::from_millis(10);
/// Into how many pieces a slow body is cut.
const DROPS: usize = 50;

/// A connection that can be torn by whoever holds its [`Cord`].
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    cord: Cord,
}

/// Tears a connection: the next write resets it.
#[derive(Clone, Debug)]
pub(super) struct Cord(Arc<AtomicBool>);

impl Cord {
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream, cord: Cord(Arc::new(AtomicBool::new(false))) }
    }

    pub(super) fn cord(&self) -> Cord {
        self.cord.clone()
    }

    fn torn(&self) -> Option<io::Error> {
        self.cord.0.load(Ordering::Acquire).then(|| {
            // Without lingering, the close that follows is a reset and not a polite end.
            let _ = self.stream.set_zero_linger();
            io::Error::from(io::ErrorKind::ConnectionReset)
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.torn() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.torn() {
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

/// The body of an answer on its way.
pub(super) struct Parcel {
    rest: Bytes,
    /// What the client was promised and will not get.
    withheld: u64,
    piece: usize,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Body for Parcel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest.is_empty() {
            if self.withheld == 0 {
                return Poll::Ready(None);
            }
            let (_, pause) = self.pause.get_or_insert_with(|| (CUT_AFTER, Box::pin(sleep(CUT_AFTER))));
            ready!(pause.as_mut().poll(cx));
            // An error here makes hyper close the connection in the middle of the promised length.
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))));
        }
        if let Some((span, pause)) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            let span = *span;
            *pause = Box::pin(sleep(span));
        }
        let piece = self.piece.min(self.rest.len());
        let frame = Frame::data(self.rest.split_to(piece));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.withheld == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX).saturating_add(self.withheld))
    }
}

/// The HTTP response that carries `answer`.
pub(super) fn response(answer: Answer) -> Response<Parcel> {
    let length = answer.body.len();
    let mut rest = Bytes::from(answer.body);
    let mut parcel = match answer.delivery {
        Delivery::Whole | Delivery::Reset => Parcel { rest, withheld: 0, piece: length, pause: None },
        Delivery::Cut(after) => {
            rest.truncate(after);
            let withheld = u64::try_from(length - rest.len()).unwrap_or(0);
            Parcel { rest, withheld, piece: length, pause: None }
        }
        Delivery::Drip(over) => {
            let piece = length.div_ceil(DROPS);
            let drops = u32::try_from(length.div_ceil(piece.max(1))).unwrap_or(1);
            let span = over / drops.max(1);
            Parcel { rest, withheld: 0, piece, pause: Some((span, Box::pin(sleep(span)))) }
        }
    };
    parcel.piece = parcel.piece.max(1);
    let mut response = Response::new(parcel);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The body of a request, as far as it arrives and is not larger than anybody needs.
pub(super) async fn read_body(mut incoming: Incoming) -> Vec<u8> {
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
