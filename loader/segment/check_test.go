package segment

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 302, 404, 503} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1"+r.URL.Path)
			w.WriteHeader(code)
		}))
		t.Cleanup(server.Close)
		require.NoError(t, Reach(t.Context(), server.URL), "any answer will do")
	}
	require.EqualError(t, Reach(t.Context(), "http://127.0.0.1:1"), "connecting to http://127.0.0.1:1: connection refused")
	require.EqualError(t, Reach(t.Context(), "http://["), "connecting to http://[: not a URL")
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	fake := fakesegment.New(fakesegment.Options{WriteKeys: []string{"good"}})
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	require.NoError(t, CheckKey(t.Context(), server.URL, "good"))
	require.ErrorIs(t, CheckKey(t.Context(), server.URL, "hunter2"), ErrUnknownKey)

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
	for _, cdn := range []string{"http://127.0.0.1:1", "://", "nowhere"} {
		err := CheckKey(t.Context(), cdn, "hunter2")
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
