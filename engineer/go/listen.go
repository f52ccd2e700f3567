package engineer

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// ListenReusable gives the app's listener for addr. network is "tcp", "tcp4" or "tcp6".
//
// Where sockets were handed over, it is the one for addr's port, or, where none has that port, the
// first that was not taken yet: so listen on the app's public ports first, in the order of its
// settings, and bind private ones with package net. Otherwise the listener is bound with
// SO_REUSEPORT, so that a newer version can bind it beside this one; the first one so bound takes
// its port from PORT, where that is set, instead of from addr.
func ListenReusable(network, addr string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	address, err := net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, err
	}
	process.Lock()
	defer process.Unlock()
	if process.sources == nil {
		if process.sources, err = processSources(); err != nil {
			return nil, err
		}
	}
	if socket := process.sources.next(address); socket != nil {
		return newListener(socket), nil
	}
	return bind(network, address)
}

var process struct {
	sync.Mutex
	sources *sources
}

// The sources of listeners: what the process was given and has not used yet.
type sources struct {
	handed []handed
	port   int
}

func processSources() (*sources, error) {
	handed, err := takeHanded()
	if err != nil || len(handed) > 0 {
		return &sources{handed: handed}, err
	}
	// PORT says what to bind where nothing was handed.
	port, err := parsePort(os.Getenv("PORT"))
	return &sources{port: port}, err
}

// next gives the handed socket for address, or else none and the port to bind in address.
func (s *sources) next(address *net.TCPAddr) *net.TCPListener {
	if len(s.handed) > 0 {
		chosen := 0
		for i, handed := range s.handed {
			if handed.name == strconv.Itoa(address.Port) {
				chosen = i
				break
			}
		}
		socket := s.handed[chosen].listener
		s.handed = append(s.handed[:chosen], s.handed[chosen+1:]...)
		return socket
	}
	if s.port != 0 {
		address.Port, s.port = s.port, 0
	}
	return nil
}

func parsePort(value string) (int, error) {
	if value == "" {
		return 0, nil
	}
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("PORT=%s is not a port", value)
	}
	return int(port), nil
}

func bind(network string, address *net.TCPAddr) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		})
		if err != nil {
			return err
		}
		return os.NewSyscallError("setsockopt", set)
	}}
	// An MPTCP socket, Go's own choice since 1.24, does not share a port with the TCP socket of an
	// older version, nor can it be steered.
	config.SetMultipathTCP(false)
	socket, err := config.Listen(context.Background(), network, address.String())
	if err != nil {
		return nil, err
	}
	return newListener(socket.(*net.TCPListener)), nil
}
