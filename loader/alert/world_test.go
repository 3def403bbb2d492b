package alert_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// world stands for every host that is not this machine, so that services with a fixed
// host are tried as they are.
var world sync.Map // of host to http.HandlerFunc

func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ":")
		if handler, ok := world.Load(host); ok {
			handler.(http.HandlerFunc)(w, r)
			return
		}
		http.Error(w, "nobody at "+r.Host+" takes "+r.Method, http.StatusNotFound)
	}))
	transport := http.DefaultTransport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // The certificate is not that of the world's hosts.
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, _ := net.SplitHostPort(address); host != "127.0.0.1" {
			address = server.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	goleak.VerifyTestMain(tests{m, server}, goleak.IgnoreCurrent())
}

// tests end the world before the leaks are counted: its close ends the idle connections too.
type tests struct {
	*testing.M
	world *httptest.Server
}

func (t tests) Run() int {
	defer t.world.Close()
	return t.M.Run()
}

// request is what a service was asked.
type request struct{ url, body string }

// recorder is a service that answers what the test wants.
type recorder struct {
	mu     sync.Mutex
	seen   []request
	answer func(w http.ResponseWriter, r *http.Request, body string, nth int)
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	rec.mu.Lock()
	rec.seen = append(rec.seen, request{r.URL.String(), string(body)})
	n := len(rec.seen)
	rec.mu.Unlock()
	if rec.answer != nil {
		rec.answer(w, r, string(body), n)
	}
}

func (rec *recorder) requests() []request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]request(nil), rec.seen...)
}

// listen starts a server on this machine and returns its HOST:PORT.
func (rec *recorder) listen(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(rec)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.Listener.Addr().String()
}

// settle makes it the server of a host in the world.
func (rec *recorder) settle(t *testing.T, host string) {
	t.Helper()
	world.Store(host, http.HandlerFunc(rec.ServeHTTP))
	t.Cleanup(func() { world.Delete(host) })
}

// mailServer takes one mail and returns its address and the mail.
func mailServer(t *testing.T) (address string, mail <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	got := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		got <- takeMail(conn)
	}()
	return listener.Addr().String(), got
}

func takeMail(conn net.Conn) string {
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 test")
	var mail strings.Builder
	inData := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		switch {
		case inData && line == ".":
			inData = false
			say("250 taken")
		case inData:
			mail.WriteString(line + "\n")
		case line == "DATA":
			inData = true
			say("354 go on")
		case line == "QUIT":
			say("221 bye")
			return mail.String()
		default:
			say("250 ok")
		}
	}
	return mail.String()
}
