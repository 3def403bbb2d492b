package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/secret"
)

func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	for value, shown := range map[any]string{
		secret.String("hunter2"): "***",
		secret.String(""):        "",
		secret.URL("postgres://u:hunter2@db:5432/x?sslmode=require"):   "***",
		secret.URL("postgres://u@db/x?password=hunter2&a=b"):           "***",
		secret.URL("postgres://u:hunter2@/x?host=/tmp"):                "***",
		secret.URL("postgres://u:hun%2@ter2@db/x"):                     "***",
		secret.URL("host=db user=u password=hunter2"):                  "***",
		secret.URL(`host=db password='hun\'ter2 hunter2' sslmode=off`): "***",
		secret.URL("postgres://u:hunter2 hunter2@db/x"):                "***",
		secret.URL("postgres://u:hun@hunter2@db/x"):                    "***",
		secret.URL(""): "",
	} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		body, err := json.Marshal(map[string]any{"value": value})
		require.NoError(t, err)
		for _, text := range []string{fmt.Sprint(value), fmt.Sprintf("%v %s %q %+v %#v %x", value, value, value, value, value, value), log.String(), string(body)} {
			require.NotContains(t, text, "hunter2")
			require.NotContains(t, text, "ter2")
		}
		require.Equal(t, shown, fmt.Sprint(value))
	}
}
