"""A wasi:http 0.2 server in Python: /hello, and the request's body back for everything else."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam

READ_BYTES = 64 * 1024
# The most that a stream takes at once.
WRITE_BYTES = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        content = b"hello\n" if request.path_with_query() == "/hello" else read(request)
        response = OutgoingResponse(Fields())
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            for begin in range(0, len(content), WRITE_BYTES):
                stream.blocking_write_and_flush(content[begin : begin + WRITE_BYTES])
        OutgoingBody.finish(body, None)


def read(request: IncomingRequest) -> bytes:
    pieces = []
    with request.consume() as body, body.stream() as stream:
        try:
            while True:
                pieces.append(stream.blocking_read(READ_BYTES))
        except Err as error:
            if not isinstance(error.value, StreamError_Closed):
                raise
    return b"".join(pieces)
