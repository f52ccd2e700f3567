package engineer

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A closingWriter adds "Connection: close" to a response that begins after the drain has, whenever
// its request came. Besides that it is the HTTP/1 writer of http.Server, with all the interfaces
// that handlers ask it for.
type closingWriter struct {
	http.ResponseWriter
	begun func() bool
	done  bool
}

var _ interface {
	http.Flusher
	http.Hijacker
	io.ReaderFrom
	io.StringWriter
} = (*closingWriter)(nil)

// begin is called before whatever may send the response's header.
func (w *closingWriter) begin() {
	if !w.done && w.begun() {
		w.Header().Set("Connection", "close")
	}
	w.done = true
}

func (w *closingWriter) WriteHeader(status int) {
	// After an informational header the final one is still to come, and 101 is the last of an
	// upgrade, whose Connection header says something else.
	if status >= 200 {
		w.begin()
	} else if status == http.StatusSwitchingProtocols {
		w.done = true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *closingWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

func (w *closingWriter) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.ResponseWriter, s)
}

func (w *closingWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, r)
}

func (w *closingWriter) Flush() {
	// The interface has no way to say that it failed; FlushError has.
	_ = w.FlushError()
}

// FlushError is http.ResponseController's Flush.
func (w *closingWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *closingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.done = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// CloseNotify is deprecated, and still asked for, without a check, by widely used packages.
func (w *closingWriter) CloseNotify() <-chan bool {
	return w.ResponseWriter.(http.CloseNotifier).CloseNotify()
}

// Unwrap gives http.ResponseController the rest.
func (w *closingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
