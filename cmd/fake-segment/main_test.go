package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServe_PrintsItsURLAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	cmd := buildRootCmd()
	cmd.SetArgs([]string{"--listen", "127.0.0.1:0", "--quiet", "--write-key", "a", "--write-key", "b", "--fault", "status", "--fault-status", "503", "--fault-next", "1"})
	cmd.SetOut(in)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "fake-segment listens on ")
	require.True(t, ok, line)

	for _, status := range []int{503, 400} { // The trouble first, then what it thinks of the body.
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/batch", strings.NewReader("{}"))
		require.NoError(t, err)
		req.SetBasicAuth("b", "")
		req.Header.Set("Content-Type", "application/json")
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, status, res.StatusCode)
	}
	cancel() // As SIGTERM does.
	require.NoError(t, loadertest.Receive(t, ended, "the end"))
}

func TestFlags_RefuseNonsense(t *testing.T) {
	t.Parallel()
	for text, args := range map[string][]string{
		`reading flags: fault kind "nonsense" is none of`: {"--fault", "nonsense"},
		"reading flags: fault share 2 is not from 0 to 1": {"--fault", "drop", "--fault-share", "2"},
		"unknown flag: --nonsense":                        {"--nonsense"},
		"listening on":                                    {"--listen", "nowhere.invalid:1"},
	} {
		cmd := buildRootCmd()
		cmd.SetArgs(args)
		cmd.SetOut(&bytes.Buffer{})
		require.ErrorContains(t, cmd.ExecuteContext(t.Context()), text)
	}
}
