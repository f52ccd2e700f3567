package engineer

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A drain knows how a server's connections stand, and ends them without a failed request.
type drain struct {
	// Its end is the drain's beginning.
	ctx     context.Context
	changed chan struct{}

	mu    sync.Mutex
	conns map[net.Conn]*standing
}

// The standing of a connection that http.Server has and nobody has hijacked.
type standing struct {
	state http.ConnState
	// When it got into the state, and how much had been read from it then.
	since time.Time
	reads int64
	// Set, once, when bytes were found in the kernel: the connection is not closed before.
	notBefore time.Time
	// Speaks HTTP/2, which has a graceful end of its own.
	http2 atomic.Bool
}

type standingKey struct{}

// attachDrain makes server tell a new drain of its connections, and ask it in each response.
func attachDrain(ctx context.Context, server *http.Server) *drain {
	d := &drain{
		ctx:     ctx,
		changed: make(chan struct{}, 1),
		conns:   make(map[net.Conn]*standing),
	}
	handler := server.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.serve(handler, w, r)
	})
	connState := server.ConnState
	server.ConnState = func(c net.Conn, state http.ConnState) {
		d.track(c, state)
		if connState != nil {
			connState(c, state)
		}
	}
	connContext := server.ConnContext
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, c)
		}
		return context.WithValue(ctx, standingKey{}, d.standing(c))
	}
	return d
}

func (d *drain) begun() bool { return d.ctx.Err() != nil }

func (d *drain) serve(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 {
		if s, ok := r.Context().Value(standingKey{}).(*standing); ok {
			s.http2.Store(true)
		}
		if d.begun() {
			// http.Server takes it as the word to send GOAWAY.
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
		return
	}
	closing := &closingWriter{ResponseWriter: w, begun: d.begun}
	handler.ServeHTTP(closing, r)
	// The response of a handler that wrote nothing begins after it.
	closing.begin()
}

// standing gives what is known of c. ConnContext asks before ConnState first tells.
func (d *drain) standing(c net.Conn) *standing {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.conns[c]
	if s == nil {
		s = &standing{state: http.StateNew, since: time.Now()}
		d.conns[c] = s
	}
	return s
}

func (d *drain) track(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew, http.StateActive, http.StateIdle:
		s := d.standing(c)
		d.mu.Lock()
		s.state, s.since, s.reads = state, time.Now(), reads(c)
		d.mu.Unlock()
	case http.StateHijacked, http.StateClosed:
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
	}
	select {
	case d.changed <- struct{}{}:
	default: // Whoever waits will look at this change too.
	}
}

// settle waits until Shutdown cuts nobody off: until no connection is left, or until all that are
// left answer a request. The latter only after two graces, because a response that began before the
// drain could not say "Connection: close": its connection gets its own grace when it is finished,
// unless that takes so long that what waits for Shutdown's word should have it first.
func (d *drain) settle(grace time.Duration) {
	ended := time.Now()
	for {
		next, left := d.closeIdle(ended, grace)
		if left == 0 {
			return
		}
		if next.IsZero() {
			next = ended.Add(2 * grace)
			if !time.Now().Before(next) {
				return
			}
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-d.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// closeIdle closes the connections whose time has come. It gives the time of the next one that
// waits for a request, none where there is none, and how many connections are left in all.
func (d *drain) closeIdle(ended time.Time, grace time.Duration) (next time.Time, left int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for c, s := range d.conns {
		if s.state == http.StateActive || s.http2.Load() {
			left++
			continue
		}
		at := s.closableAt(reads(c), ended, grace)
		if !now.Before(at) && s.notBefore.IsZero() && hasUnread(c) {
			// A request is there, and the goroutine that reads it has not run yet.
			s.notBefore = now.Add(grace)
			at = s.notBefore
		}
		if !now.Before(at) {
			delete(d.conns, c)
			// In a goroutine, since TLS says goodbye and the client may not take it. What fails
			// in closing is of no more use to anybody.
			go func(c net.Conn) { _ = c.Close() }(c)
			continue
		}
		left++
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, left
}

// closableAt is when a connection may be closed that waits for a request, and from which so much
// has been read by now.
func (s *standing) closableAt(reads int64, ended time.Time, grace time.Duration) time.Time {
	at := ended
	if s.since.After(at) {
		at = s.since
	}
	at = at.Add(grace)
	if reads != s.reads {
		// Somebody is sending a request, but it may never be finished: one more grace for that.
		at = at.Add(grace)
	}
	if s.notBefore.After(at) {
		at = s.notBefore
	}
	return at
}

// reads is how often something was read from c, as far as c knows.
func reads(c net.Conn) int64 {
	if counted, ok := underTLS(c).(*conn); ok {
		return counted.reads.Load()
	}
	return 0
}

// hasUnread says whether the kernel holds bytes of c that nobody has read yet.
func hasUnread(c net.Conn) bool {
	socket, ok := underTLS(c).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	unread := 0
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err == nil {
			unread = n
		}
	})
	return err == nil && unread > 0
}

func underTLS(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}
