package segment

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 302, 404, 503} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1"+r.URL.Path)
			w.WriteHeader(code)
		}))
		t.Cleanup(server.Close)
		_, err := Reach(t.Context(), server.URL)
		require.NoError(t, err, "any answer will do")
	}
	_, err := Reach(t.Context(), "http://127.0.0.1:1")
	require.EqualError(t, err, "connecting to http://127.0.0.1:1: connection refused")
	_, err = Reach(t.Context(), "http://[")
	require.EqualError(t, err, "connecting to http://[: not a URL")
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	fake := fakesegment.New(fakesegment.Options{WriteKeys: []string{"good"}})
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	require.NoError(t, CheckKey(t.Context(), server.URL, "good"))
	err := CheckKey(t.Context(), server.URL, "hunter2")
	require.ErrorIs(t, err, ErrUnknownKey)
	require.True(t, fault.Is(err, fault.Precondition))
	require.Contains(t, fault.HintOf(err), "segment.cdn_endpoint: none")

	for _, code := range []int{302, 403, 500} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://[bad"+r.URL.Path)
			w.WriteHeader(code)
		}))
		t.Cleanup(other.Close)
		err := CheckKey(t.Context(), other.URL, "hunter2")
		require.ErrorContains(t, err, strconv.Itoa(code))
		require.NotErrorIs(t, err, ErrUnknownKey)
		require.NotContains(t, err.Error(), "hunter2")
	}
	t.Log("a status of 200 with anything but a JSON object says nothing of the key")
	for body, known := range map[string]bool{
		"": false, "<html>log in</html>": false, `"no"`: false, "[]": false, `{"integrations":`: false, `{"a":1}x`: false, " {}\n": true,
		`{"integrations":{"Segment.io":{}},"plan":{}}`: true, `{"a":"` + strings.Repeat("x", 2<<20) + `"}`: true, `{"a":[` + strings.Repeat("1,", 1<<20) + `1]}`: true,
	} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		t.Cleanup(other.Close)
		err := CheckKey(t.Context(), other.URL, "hunter2")
		if known {
			require.NoError(t, err, "%.40q", body)
			continue
		}
		require.NotErrorIs(t, err, ErrUnknownKey)
		require.ErrorContains(t, err, "about the write key: ", "%.40q", body)
		require.False(t, fault.Is(err, fault.Precondition))
	}
	for _, cdn := range []string{"http://127.0.0.1:1", "://", "nowhere"} {
		err := CheckKey(t.Context(), cdn, "hunter2")
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// A run waits for the answer, so it does not wait for long.
func TestCheckKey_GivesUp(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// An answer before its question would be none.
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(conn, words)
			_, _ = io.Copy(io.Discard, conn) // Until the client goes.
			_ = conn.Close()
		}()
		url := "http://" + listener.Addr().String()
		require.EqualError(t, CheckKey(t.Context(), url, "hunter2"), "asking "+url+" about the write key: no answer within 3s")
	}
}
