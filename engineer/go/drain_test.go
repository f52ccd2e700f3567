package engineer

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const testGrace = time.Second

// A running is a server in a test, and the word that ends it.
type running struct {
	t       *testing.T
	address string
	end     context.CancelFunc
	served  chan error
}

func start(t *testing.T, server *http.Server, listener net.Listener) *running {
	ctx, end := context.WithCancel(context.Background())
	s := &running{t, listener.Addr().String(), end, make(chan error, 1)}
	if server.Handler == nil {
		server.Handler = handler(ctx)
	}
	go func() { s.served <- serveUntil(ctx, server, listener, testGrace) }()
	t.Cleanup(func() {
		end()
		server.Close()
	})
	return s
}

func startPlain(t *testing.T) *running {
	server, listener, err := NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, server, listener)
}

func handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	mux.HandleFunc("/empty", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(testGrace * 2 / 3)
		io.WriteString(w, "slow")
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		time.Sleep(testGrace * 2 / 3)
		io.WriteString(w, "ended")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, "yours\n")
		<-ctx.Done()
		io.WriteString(c, "bye\n")
		io.Copy(io.Discard, c)
	})
	return mux
}

// finished waits for the server's own end.
func (s *running) finished() {
	s.t.Helper()
	select {
	case err := <-s.served:
		if err != nil {
			s.t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatal("the server does not end")
	}
}

type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *running) connect() *client {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{c, s.t, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// answered reads a response, which must say "Connection: close" or not.
func (c *client) answered(body string, closes bool) {
	c.t.Helper()
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil || string(read) != body || response.StatusCode != 200 {
		c.t.Fatalf("status %d, body %q, error %v", response.StatusCode, read, err)
	}
	if response.Close != closes {
		c.t.Fatalf("closes: %v, expected %v", response.Close, closes)
	}
}

func (c *client) get(path, body string, closes bool) {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n")
	c.answered(body, closes)
}

// closed waits for a clean end of the connection.
func (c *client) closed() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("after the end came %q, error %v", rest, err)
	}
}

func TestIdleConnectionIsAnsweredInTheGraceAndToldToClose(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	used, empty, fresh := s.connect(), s.connect(), s.connect()
	used.get("/", "hello", false)
	empty.get("/empty", "", false)
	s.end()
	time.Sleep(testGrace / 2)
	used.get("/", "hello", true)
	empty.get("/empty", "", true)
	fresh.get("/", "hello", true)
	used.closed()
	empty.closed()
	fresh.closed()
	s.finished()
}

func TestIdleConnectionIsClosedAfterTheGrace(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	used, fresh := s.connect(), s.connect()
	used.get("/", "hello", false)
	begun := time.Now()
	s.end()
	used.closed()
	fresh.closed()
	if took := time.Since(begun); took < testGrace {
		t.Fatalf("closed after %v", took)
	}
	s.finished()
}

func TestWithoutConnectionsItReturnsAtOnce(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	c := s.connect()
	c.get("/", "hello", false)
	c.Close()
	begun := time.Now()
	s.end()
	s.finished()
	if took := time.Since(begun); took >= testGrace {
		t.Fatalf("returned after %v", took)
	}
}

func TestRequestInFlightIsAnsweredAndToldToClose(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	c := s.connect()
	c.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
	time.Sleep(testGrace / 4)
	s.end()
	c.answered("slow", true)
	c.closed()
	s.finished()
}

// Its header was sent before the end, so the client believes that the connection goes on.
func TestResponseThatHadBegunIsFinishedAndItsConnectionGetsAGrace(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	c := s.connect()
	c.send("GET /stream HTTP/1.1\r\nHost: test\r\n\r\n")
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	s.end()
	c.answered("begunended", false)
	time.Sleep(testGrace / 2)
	c.get("/", "hello", true)
	c.closed()
	s.finished()
}

func TestHalfARequestIsWaitedForButNotForEver(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	late, never := s.connect(), s.connect()
	for _, c := range []*client{late, never} {
		c.get("/", "hello", false)
		c.send("GET / HTTP/1.1\r\nHo")
	}
	time.Sleep(testGrace / 4)
	begun := time.Now()
	s.end()
	time.Sleep(testGrace * 3 / 2)
	late.send("st: test\r\n\r\n")
	late.answered("hello", true)
	never.closed()
	if took := time.Since(begun); took < 2*testGrace {
		t.Fatalf("closed after %v", took)
	}
	s.finished()
}

func TestConnectionsInTheQueueAreServed(t *testing.T) {
	t.Parallel()
	l, err := ListenReusable("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var clients []*client
	s := &running{t: t, address: l.Addr().String()}
	for i := 0; i < 20; i++ {
		clients = append(clients, s.connect())
	}
	// The end is there before the first accept.
	ctx, end := context.WithCancel(context.Background())
	end()
	server := &http.Server{Handler: handler(ctx)}
	s.served = make(chan error, 1)
	go func() { s.served <- serveUntil(ctx, server, l, testGrace) }()
	for _, c := range clients {
		c.get("/", "hello", true)
	}
	s.finished()
	if _, err := net.Dial("tcp", s.address); err == nil {
		t.Fatal("the listener is open")
	}
}

func TestBodyIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	c := s.connect()
	c.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nfour")
	time.Sleep(testGrace / 4)
	s.end()
	time.Sleep(testGrace * 5 / 2)
	c.send("more")
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "fourmore" {
		t.Fatalf("%q, error %v", body, err)
	}
	s.finished()
}

func TestHijackedConnectionIsWaitedForAndLearnsOfTheEnd(t *testing.T) {
	t.Parallel()
	s := startPlain(t)
	c := s.connect()
	c.send("GET /hijack HTTP/1.1\r\nHost: test\r\n\r\n")
	for _, expected := range []string{"yours\n", "bye\n"} {
		line, err := c.r.ReadString('\n')
		if err != nil || line != expected {
			t.Fatalf("%q, error %v", line, err)
		}
		s.end()
	}
	select {
	case <-s.served:
		t.Fatal("returned while the client has not closed")
	case <-time.After(2 * testGrace):
	}
	c.Close()
	s.finished()
}

func TestHTTP2StreamsAreFinished(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*running{"clear": startPlain(t), "TLS": startTLS(t)} {
		name, s := name, s
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := http2Transport()
			if transport == nil {
				t.Skip("this Go has no HTTP/2 without TLS")
			}
			defer transport.CloseIdleConnections()
			scheme := map[string]string{"clear": "http", "TLS": "https"}[name]
			client := &http.Client{Transport: transport}
			get := func(path, body string) {
				response, err := client.Get(fmt.Sprintf("%s://%s%s", scheme, s.address, path))
				if err != nil {
					t.Error(err)
					return
				}
				defer response.Body.Close()
				read, err := io.ReadAll(response.Body)
				if err != nil || string(read) != body || response.ProtoMajor != 2 {
					t.Errorf("%s %q, error %v", response.Proto, read, err)
				}
			}
			get("/", "hello")
			slow := make(chan struct{})
			go func() {
				get("/slow", "slow")
				close(slow)
			}()
			time.Sleep(testGrace / 4)
			s.end()
			get("/", "hello") // On the connection that is there: the listener is closed.
			<-slow
			s.finished()
		})
	}
}

func TestHTTP1OverTLSIsDrainedToo(t *testing.T) {
	t.Parallel()
	s := startTLS(t)
	raw := s.connect()
	secure := tls.Client(raw.Conn, &tls.Config{InsecureSkipVerify: true})
	c := &client{secure, t, bufio.NewReader(secure)}
	c.get("/", "hello", false)
	s.end()
	time.Sleep(testGrace / 2)
	c.get("/", "hello", true)
	c.closed()
	s.finished()
}

func startTLS(t *testing.T) *running {
	cert, key := certificateFiles(t)
	server, listener, err := NewServerTLS("127.0.0.1:0", cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, server, listener)
}

func TestListenersThatAreNotOursEndToo(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrapped := struct{ net.Listener }{inner}
	for _, l := range []net.Listener{plain, wrapped} {
		s := start(t, &http.Server{}, l)
		c := s.connect()
		c.get("/", "hello", false)
		s.end()
		c.get("/", "hello", true)
		c.closed()
		s.finished()
	}
}

func TestServerThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	l, err := ListenReusable("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = serveUntil(context.Background(), &http.Server{}, l, testGrace)
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Fatal(err)
	}
}

func TestWriterKeepsWhatHandlersAskFor(t *testing.T) {
	t.Parallel()
	server, l, err := NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan error, 1)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_ = w.(http.CloseNotifier).CloseNotify()
		seen <- http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("read")); err != nil {
			t.Error(err)
		}
		io.WriteString(w, "written")
	})
	s := start(t, server, l)
	c := s.connect()
	s.end()
	c.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	if hints, err := http.ReadResponse(c.r, nil); err != nil || hints.StatusCode != 103 {
		t.Fatal(hints, err)
	}
	c.answered("readwritten", true)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	s.finished()
}
