package engineer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const firstHanded = 3

// A handed is a listening socket, under the name that it was handed over with: a port, as a rule.
type handed struct {
	name     string
	listener *net.TCPListener
}

// takeHanded takes all sockets that were handed to this process. To be called once in a process.
func takeHanded() ([]handed, error) {
	names, err := handedNames(os.Getenv, os.Getpid())
	if err != nil {
		return nil, err
	}
	sockets := make([]handed, 0, len(names))
	for i, name := range names {
		listener, err := adopt(firstHanded + i)
		if err != nil {
			return nil, fmt.Errorf("the handed descriptor %d (%s) is of no use: %w",
				firstHanded+i, name, err)
		}
		sockets = append(sockets, handed{name, listener})
	}
	return sockets, nil
}

// handedNames has one name for each descriptor, from the first on. There are none where they are
// meant for another process.
func handedNames(getenv func(string) string, pid int) ([]string, error) {
	listenPid, listenFds := getenv("LISTEN_PID"), getenv("LISTEN_FDS")
	if listenPid == "" || listenFds == "" {
		return nil, nil
	}
	if n, err := strconv.Atoi(listenPid); err != nil {
		return nil, fmt.Errorf("LISTEN_PID=%s is not a number", listenPid)
	} else if n != pid {
		return nil, nil
	}
	// A limit far past any real number, so that a wrong one does not become a huge allocation.
	count, err := strconv.Atoi(listenFds)
	if err != nil || count < 0 || count > 1024 {
		return nil, fmt.Errorf("LISTEN_FDS=%s is not a number of sockets", listenFds)
	}
	names := make([]string, count)
	copy(names, strings.Split(getenv("LISTEN_FDNAMES"), ":"))
	return names, nil
}

func adopt(fd int) (*net.TCPListener, error) {
	// Before anything owns the number: where the starter of the process promised more than it
	// left, it may be one of the runtime's own descriptors, which must not be closed.
	listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return nil, err
	}
	if listens == 0 {
		return nil, errors.New("it does not listen")
	}
	syscall.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "handed socket")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		listener.Close()
		return nil, fmt.Errorf("it listens on %s, not on a TCP port", listener.Addr().Network())
	}
	return tcp, nil
}
