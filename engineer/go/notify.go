package engineer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// A reader that hangs must not hang the app.
const sendWithin = 5 * time.Second

// Ready says that the app listens, or, for a worker, that it has begun its work.
// [ServeUntilTerminate] says so by itself. It does nothing where nobody asked to be told, and fails
// where NOTIFY_SOCKET is set and nothing reads from it.
func Ready() error { return notify("READY=1") }

func notify(message string) error {
	// A leading @ is net's own notation for an abstract socket, too.
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if err := send(name, message); err != nil {
		return fmt.Errorf("cannot say %s to %s: %w", message, name, err)
	}
	return nil
}

func send(name, message string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}

// unlessGone turns "nobody is there to hear it" into success. An agent that is being replaced must
// not take its app down with it; the next one finds the app by other means.
func unlessGone(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}
