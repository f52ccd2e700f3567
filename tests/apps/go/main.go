// The app that the tests deploy, in Go. Its mode, from TEST_MODE or the first argument, says how it
// gets its port and how it misbehaves:
//
//	engineer                        links the library (the default)
//	listen-fds                      takes LISTEN_FDS by itself, says that it is ready, and ends by
//	                                Server.Shutdown at once
//	reuseport                       binds PORT with SO_REUSEPORT by itself
//	bind                            just binds PORT
//	worker                          has no port
//	exit, exit:<code>               ends at once, with 3 or that code, and some lines on stderr
//	never-ready, never-ready:<ms>   links the library, but serves never, or that late
//	crash-after:<ms>                links the library, and exits with 3 so long after it was ready
//
// GET / says who answers (tag is its version), /slow?ms=N answers after that time, /health at once,
// /env?name=TEST_X with that variable, and /ws is a WebSocket that answers each message. HTTP/1.1 and
// HTTP/2, and both over TLS on TEST_TLS_PORT, where that is set, with the certificate and key in the
// files TEST_TLS_CERT and TEST_TLS_KEY.
package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pushbullet/engineer"
)

// Which build it is. Tests replace it in a copy of the source.
const tag = "untagged"

const exitCode = 3

func main() {
	chosen := os.Getenv("TEST_MODE")
	if chosen == "" && len(os.Args) > 1 {
		chosen = os.Args[1]
	}
	if chosen == "" {
		chosen = "engineer"
	}
	fmt.Printf("starting version %s release %d mode %s\n", tag, engineer.Version(), chosen)
	mode, value, hasValue := strings.Cut(chosen, ":")
	number, err := strconv.Atoi(value)
	if hasValue && err != nil {
		fmt.Fprintf(os.Stderr, "mode %s: %v\n", chosen, err)
		os.Exit(64)
	}
	if mode == "exit" {
		if !hasValue {
			number = exitCode
		}
		exit(number)
	}
	announced := make(chan struct{})
	go func() {
		<-engineer.Context().Done()
		fmt.Println("got SIGTERM")
		close(announced)
	}()
	if err := run(chosen, mode, time.Duration(number)*time.Millisecond, hasValue); err != nil {
		fmt.Fprintf(os.Stderr, "failed: %v\n", err)
		os.Exit(1)
	}
	<-announced
	fmt.Println("finished")
}

func exit(code int) {
	for line := 1; line <= 3; line++ {
		fmt.Fprintf(os.Stderr, "line %d of 3 about why this release cannot start\n", line)
	}
	os.Exit(code)
}

func run(chosen, mode string, after time.Duration, hasAfter bool) error {
	handler := answers(chosen)
	switch mode {
	case "engineer":
		return serveEngineer(handler, nil)
	case "listen-fds":
		return serveStock(handed, handler, engineer.Ready)
	case "reuseport":
		return serveStock(bindReusable, handler, nil)
	case "bind":
		return serveStock(bind, handler, nil)
	case "worker":
		ctx := engineer.Context()
		if err := engineer.Ready(); err != nil {
			return err
		}
		fmt.Println("ready")
		<-ctx.Done()
		return nil
	case "never-ready":
		var late <-chan time.Time
		if hasAfter {
			late = time.After(after)
		}
		select {
		case <-late:
			return serveEngineer(handler, nil)
		case <-engineer.Context().Done():
			return nil
		}
	case "crash-after":
		return serveEngineer(handler, func() {
			time.AfterFunc(after, func() {
				fmt.Fprintf(os.Stderr, "crashing %d ms after it was ready\n", after.Milliseconds())
				os.Exit(exitCode)
			})
		})
	}
	fmt.Fprintf(os.Stderr, "there is no mode %s\n", chosen)
	os.Exit(64)
	return nil
}

func serveEngineer(handler http.Handler, onceReady func()) error {
	type served struct {
		*http.Server
		net.Listener
	}
	var ports []served
	server, listener, err := engineer.NewServer(address(port()))
	if err != nil {
		return err
	}
	ports = append(ports, served{server, listener})
	if tls := os.Getenv("TEST_TLS_PORT"); tls != "" {
		cert, key := os.Getenv("TEST_TLS_CERT"), os.Getenv("TEST_TLS_KEY")
		server, listener, err := engineer.NewServerTLS(address(tls), cert, key)
		if err != nil {
			return err
		}
		ports = append(ports, served{server, listener})
	}
	if onceReady != nil {
		// Said here already, since the time counts from it; that it is said twice does no harm.
		if err := engineer.Ready(); err != nil {
			return err
		}
		onceReady()
	}
	ended := make(chan error)
	for _, port := range ports {
		port.Server.Handler = handler
		fmt.Printf("ready on %s\n", port.Listener.Addr())
		go func() { ended <- engineer.ServeUntilTerminate(port.Server, port.Listener) }()
	}
	return all(ended, len(ports))
}

// serveStock serves as an app does that does not link the library. It calls ready once it listens.
func serveStock(
	listen func(address string) (net.Listener, error), handler http.Handler, ready func() error,
) error {
	ctx := engineer.Context()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	ended := make(chan error)
	serve := func(port string, serve func(*http.Server, net.Listener) error) error {
		listener, err := listen(address(port))
		if err != nil {
			return err
		}
		fmt.Printf("ready on %s\n", listener.Addr())
		server := &http.Server{Handler: handler, Protocols: protocols}
		stopped := make(chan error, 1)
		go func() {
			<-ctx.Done()
			// Without a limit of its own, as the others: the agent holds the deadline.
			stopped <- shutdown(server)
		}()
		go func() {
			err := serve(server, listener)
			if errors.Is(err, http.ErrServerClosed) {
				err = <-stopped
			}
			ended <- err
		}()
		return nil
	}
	ports := 1
	if err := serve(port(), (*http.Server).Serve); err != nil {
		return err
	}
	if tls := os.Getenv("TEST_TLS_PORT"); tls != "" {
		ports++
		err := serve(tls, func(server *http.Server, listener net.Listener) error {
			return server.ServeTLS(
				listener, os.Getenv("TEST_TLS_CERT"), os.Getenv("TEST_TLS_KEY"))
		})
		if err != nil {
			return err
		}
	}
	if ready != nil {
		if err := ready(); err != nil {
			return err
		}
	}
	err := all(ended, ports)
	open.Wait()
	return err
}

// all gives the first error of so many servers, or nil when all have ended.
func all(ended <-chan error, servers int) error {
	for ; servers > 0; servers-- {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// port is PORT, or 8080.
func port() string {
	if port := os.Getenv("PORT"); port != "" {
		return port
	}
	return "8080"
}

// address is TEST_HOST, or loopback, and the port.
func address(port string) string {
	host := os.Getenv("TEST_HOST")
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
