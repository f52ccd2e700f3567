package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pushbullet/engineer"
)

// Just enough of RFC 6455 for the tests: short, whole text messages, pings and the close handshake.
const (
	opText   = 0x1
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
	final    = 0x80
	masked   = 0x80
	longest  = 0xffff
	away     = 1001
	accepted = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// How long a client may take to answer the close frame.
const goodbyeMax = 10 * time.Second

// The sockets that are open: http.Server does not wait for them, and the library does.
var open sync.WaitGroup

// echo answers each message by who answers, with the message in it, until the end begins.
func echo(mode string, w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if key == "" {
		http.Error(w, "this is for WebSockets", http.StatusBadRequest)
		return
	}
	open.Add(1)
	defer open.Done()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(key + accepted))
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	socket := &socket{conn: conn, reader: buffered.Reader}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// What fails on a connection is its client's to count.
		_ = socket.serve(mode)
	}()
	select {
	case <-ended:
	case <-engineer.Context().Done():
		// What the client sends from here on is not answered, and it knows that.
		socket.close(away)
		conn.SetReadDeadline(time.Now().Add(goodbyeMax))
		<-ended
	}
}

type socket struct {
	conn   net.Conn
	reader *bufio.Reader
	mu     sync.Mutex
	closed bool
}

// serve reads until the client's close frame, or an error.
func (s *socket) serve(mode string) error {
	for {
		op, text, err := s.read()
		if err != nil {
			return err
		}
		switch op {
		case opText:
			reply, err := answerOf(mode, string(text))
			if err != nil {
				return err
			}
			if err := s.write(opText, reply); err != nil {
				return err
			}
		case opPing:
			if err := s.write(opPong, text); err != nil {
				return err
			}
		case opClose:
			code := uint16(1000)
			if len(text) >= 2 {
				code = binary.BigEndian.Uint16(text)
			}
			return s.close(code)
		}
	}
}

func (s *socket) read() (op byte, text []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.reader, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&final == 0 || head[1]&masked == 0 {
		return 0, nil, errors.New("only whole and masked messages are understood")
	}
	length := uint64(head[1] &^ masked)
	switch length {
	case 126:
		var long [2]byte
		if _, err := io.ReadFull(s.reader, long[:]); err != nil {
			return 0, nil, err
		}
		length = uint64(binary.BigEndian.Uint16(long[:]))
	case 127:
		return 0, nil, errors.New("a message that is too long")
	}
	var mask [4]byte
	if _, err := io.ReadFull(s.reader, mask[:]); err != nil {
		return 0, nil, err
	}
	text = make([]byte, length)
	if _, err := io.ReadFull(s.reader, text); err != nil {
		return 0, nil, err
	}
	for i := range text {
		text[i] ^= mask[i%4]
	}
	return head[0] &^ final, text, nil
}

// write sends a frame, unless the close frame was the last one.
func (s *socket) write(op byte, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return s.send(op, text)
}

func (s *socket) close(code uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.send(opClose, binary.BigEndian.AppendUint16(nil, code))
}

func (s *socket) send(op byte, text []byte) error {
	frame := []byte{final | op}
	switch {
	case len(text) < 126:
		frame = append(frame, byte(len(text)))
	case len(text) <= longest:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(len(text)))
	default:
		return errors.New("a message that is too long")
	}
	_, err := s.conn.Write(append(frame, text...))
	return err
}
