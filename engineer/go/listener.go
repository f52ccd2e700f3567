package engineer

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// errDrained ends http.Server.Serve when nobody waits in the queue any more.
var errDrained = errors.New("the listener is drained")

// A drainable listener stops accepting without leaving anybody in its queue.
type drainable interface {
	net.Listener
	// drain makes Accept give what is queued, and then errDrained.
	drain()
	// wait returns when all accepted connections are closed, hijacked ones among them.
	wait()
}

func asDrainable(l net.Listener) drainable {
	switch l := l.(type) {
	case drainable:
		return l
	case *net.TCPListener:
		return newListener(l)
	default:
		return &foreign{Listener: l}
	}
}

// A listener is a TCP listener that can be drained, and that counts its connections.
type listener struct {
	*net.TCPListener
	tls      *tls.Config
	draining atomic.Bool
	open     sync.WaitGroup
}

func newListener(socket *net.TCPListener) *listener { return &listener{TCPListener: socket} }

func (l *listener) Accept() (net.Conn, error) {
	var socket *net.TCPConn
	err := errDrained
	if !l.draining.Load() {
		socket, err = l.AcceptTCP()
	}
	if err != nil && l.draining.Load() {
		socket, err = l.acceptQueued()
	}
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	c := &conn{TCPConn: socket, closed: l.open.Done}
	if l.tls != nil {
		return tls.Server(c, l.tls), nil
	}
	return c, nil
}

func (l *listener) drain() {
	l.draining.Store(true)
	// Wakes Accept. Fails only where the listener is closed, which wakes it as well.
	_ = l.SetDeadline(time.Unix(1, 0))
}

func (l *listener) wait() { l.open.Wait() }

// acceptQueued asks the kernel itself: net does not try to accept once a deadline has passed.
func (l *listener) acceptQueued() (*net.TCPConn, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	accepted, failed := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		// No other goroutine may fork between the two calls: its child would get the connection.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		for {
			accepted, _, failed = syscall.Accept(int(fd))
			if failed != syscall.EINTR && failed != syscall.ECONNABORTED {
				break
			}
		}
		if failed == nil {
			syscall.CloseOnExec(accepted)
		}
	})
	if err != nil {
		return nil, err
	}
	if failed == syscall.EAGAIN {
		return nil, errDrained
	}
	if failed != nil {
		// In the form that tells http.Server which errors pass.
		failed = os.NewSyscallError("accept", failed)
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: failed}
	}
	file := os.NewFile(uintptr(accepted), "accepted connection")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// A conn counts what is read, so that one can see whether a part of a request has come, and tells
// when it is closed. It embeds the TCP connection for its other methods, sendfile's among them.
type conn struct {
	*net.TCPConn
	reads  atomic.Int64
	once   sync.Once
	closed func()
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.reads.Add(1)
	}
	return n, err
}

func (c *conn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.closed)
	return err
}

// A foreign listener is of a kind that has no queue to ask. It is closed at the end, and does not
// know its connections.
type foreign struct {
	net.Listener
	draining atomic.Bool
}

func (f *foreign) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil && f.draining.Load() {
		return nil, errDrained
	}
	return c, err
}

func (f *foreign) drain() {
	f.draining.Store(true)
	// Wakes Accept; http.Server closes the listener once more and reports what comes of it.
	_ = f.Listener.Close()
}

func (f *foreign) wait() {}
