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

// handed takes the first handed socket.
func handed() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("no socket was handed to this process")
	}
	file := os.NewFile(3, "handed socket")
	defer file.Close()
	return net.FileListener(file)
}

func bindReusable() (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		})
		return errors.Join(err, set)
	}}
	return config.Listen(context.Background(), "tcp", address())
}

func bind() (net.Listener, error) { return net.Listen("tcp", address()) }

func shutdown(server *http.Server) error { return server.Shutdown(context.Background()) }
