package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

// SO_REUSEPORT of Linux on amd64 and arm64, which package syscall lacks.
const soReusePort = 0xf

// How many handed sockets were taken.
var taken int

// handed takes the next handed socket: they come in the order of the app's ports.
func handed(string) (net.Listener, error) {
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || taken >= count {
		return nil, errors.New("no further socket was handed to this process")
	}
	file := os.NewFile(uintptr(3+taken), "handed socket")
	taken++
	defer file.Close()
	return net.FileListener(file)
}

func bindReusable(address string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		})
		return errors.Join(err, set)
	}}
	return config.Listen(context.Background(), "tcp", address)
}

func bind(address string) (net.Listener, error) { return net.Listen("tcp", address) }

func shutdown(server *http.Server) error { return server.Shutdown(context.Background()) }
