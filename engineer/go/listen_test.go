package engineer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is an app, too: the tests start the test's own executable as one.
func TestMain(m *testing.M) {
	addr := os.Getenv("TEST_LISTEN")
	if addr == "" {
		os.Exit(m.Run())
	}
	err := ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %d", AppName(), Version())
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("finished")
}

// startApp starts the app with sockets from descriptor 3 on. LISTEN_PID is the shell's own pid,
// which the app has after exec.
func startApp(t *testing.T, sockets []*os.File, environment ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	app := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	app.Env = append(os.Environ(), environment...)
	app.ExtraFiles = sockets
	output, err := app.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	app.Stderr = app.Stdout
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		app.Process.Kill()
		app.Wait()
	})
	return app, output
}

func TestAppTakesTheHandedSocketAndSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	file, err := socket.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	name := fmt.Sprintf("@engineer-go-test-%d", os.Getpid())
	words, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	app, output := startApp(t, []*os.File{file}, "TEST_LISTEN=:1", "LISTEN_FDS=1",
		"LISTEN_FDNAMES=80", "NOTIFY_SOCKET="+name, "ENGR_APP=shop", "ENGR_VERSION=42")
	expect(t, words, "READY=1")
	response, err := http.Get("http://" + socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "shop 42" {
		t.Fatalf("%q, error %v", body, err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := app.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect(t, words, "STOPPING=1")
	if rest, err := io.ReadAll(output); err != nil || string(rest) != "finished\n" {
		t.Fatalf("%q, error %v", rest, err)
	}
	if err := app.Wait(); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, words *net.UnixConn, expected string) {
	t.Helper()
	words.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 64)
	n, err := words.Read(b)
	if err != nil || string(b[:n]) != expected {
		t.Fatalf("%q, error %v; expected %q", b[:n], err, expected)
	}
}

func TestAppThatWasHandedNonsenseSaysSo(t *testing.T) {
	t.Parallel()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	app, output := startApp(t, []*os.File{file}, "TEST_LISTEN=:1", "LISTEN_FDS=1",
		"LISTEN_FDNAMES=80", "NOTIFY_SOCKET=")
	text, err := io.ReadAll(output)
	if err != nil || !strings.Contains(string(text), "the handed descriptor 3 (80) is of no use") {
		t.Fatalf("%q, error %v", text, err)
	}
	if err := app.Wait(); err == nil {
		t.Fatal("it succeeded")
	}
}

func TestHandedNames(t *testing.T) {
	t.Parallel()
	for variables, expected := range map[[3]string]any{
		{"42", "2", "80:443"}: []string{"80", "443"},
		{"42", "2", ""}:       []string{"", ""},
		{"41", "2", "80:443"}: []string(nil),
		{"", "", ""}:          []string(nil),
		{"42", "many", ""}:    "LISTEN_FDS=many is not a number of sockets",
		{"42", "-1", ""}:      "LISTEN_FDS=-1 is not a number of sockets",
		{"x", "1", ""}:        "LISTEN_PID=x is not a number",
	} {
		getenv := func(name string) string {
			return map[string]string{
				"LISTEN_PID": variables[0], "LISTEN_FDS": variables[1],
				"LISTEN_FDNAMES": variables[2],
			}[name]
		}
		names, err := handedNames(getenv, 42)
		var got any = names
		if err != nil {
			got = err.Error()
		}
		if !reflect.DeepEqual(got, expected) {
			t.Errorf("%v: %v, expected %v", variables, got, expected)
		}
	}
}

func TestSourcesAreTakenByPortThenInOrder(t *testing.T) {
	t.Parallel()
	one, two := new(net.TCPListener), new(net.TCPListener)
	s := &sources{handed: []handed{{"80", one}, {"443", two}}}
	if s.next(&net.TCPAddr{Port: 443}) != two || s.next(&net.TCPAddr{Port: 8080}) != one {
		t.Fatal("not the handed ones, by port and then in order")
	}
	if s.next(&net.TCPAddr{Port: 1}) != nil {
		t.Fatal("more than were handed")
	}
	s = &sources{port: 5000}
	first, second := &net.TCPAddr{Port: 80}, &net.TCPAddr{Port: 81}
	if s.next(first) != nil || s.next(second) != nil || first.Port != 5000 || second.Port != 81 {
		t.Fatalf("ports %d and %d", first.Port, second.Port)
	}
	if _, err := parsePort("http"); err == nil || err.Error() != "PORT=http is not a port" {
		t.Fatal(err)
	}
}

func TestTwoVersionsListenOnOnePort(t *testing.T) {
	t.Parallel()
	old, err := ListenReusable("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	newer, err := ListenReusable("tcp", old.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer newer.Close()
	if _, err := ListenReusable("udp", ":0"); err == nil {
		t.Fatal("it listens on UDP")
	}
}

func TestAnAgentThatIsGoneIsNoErrorOfTheApp(t *testing.T) {
	t.Parallel()
	if err := send("/nonexistent/engineer", "READY=1"); err == nil || unlessGone(err) != nil {
		t.Fatal(err)
	}
	if err := send("@engineer-nobody", "READY=1"); err == nil || unlessGone(err) != nil {
		t.Fatal(err)
	}
	if unlessGone(os.ErrPermission) == nil {
		t.Fatal("other errors count")
	}
}

// certificateFiles makes a certificate that nobody trusts.
func certificateFiles(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", public), write("key.pem", "PRIVATE KEY", secret)
}
