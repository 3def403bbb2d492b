package alert

import (
	"encoding/json"
	"errors"

	"github.com/nicholas-fedor/shoutrrr/pkg/util/jsonclient"
)

// The library's Telegram takes for success whatever is not an error in Telegram's own
// JSON: a refused connection, an answer of a proxy. It alone asks through this client, and
// so hears of those as errors in that JSON.
func init() { jsonclient.DefaultClient = frank{jsonclient.DefaultClient} }

type frank struct{ jsonclient.Client }

func (f frank) Get(url string, response any) error {
	return telegramError(f.Client.Get(url, response))
}

func (f frank) Post(url string, request, response any) error {
	return telegramError(f.Client.Post(url, request, response))
}

func telegramError(err error) error {
	if err == nil {
		return nil
	}
	told, ok := errors.AsType[jsonclient.Error](err)
	var answer struct {
		Description string `json:"description"`
	}
	if ok && json.Unmarshal([]byte(told.Body), &answer) == nil && answer.Description != "" {
		return err
	}
	body, encodeErr := json.Marshal(map[string]any{"ok": false, "error_code": told.StatusCode, "description": err.Error()})
	if encodeErr != nil {
		return err
	}
	return jsonclient.Error{StatusCode: told.StatusCode, Body: string(body)}
}
