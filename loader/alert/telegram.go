package alert

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"strconv"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
	"github.com/nicholas-fedor/shoutrrr/pkg/util/jsonclient"
)

// bot sends in place of the library's Telegram, which takes for success whatever is not an error
// in Telegram's own JSON: a refused connection, an answer of a proxy
// (https://github.com/containrrr/shoutrrr/issues/473).
type bot struct{ *telegram.Service }

func (b bot) Send(text string, params *types.Params) error {
	title, _ := params.Title()
	config := b.GetConfig()
	for _, chat := range config.Chats {
		chat, thread, _ := strings.Cut(chat, ":")
		message := map[string]any{
			"chat_id": chat, "parse_mode": "HTML", "text": fmt.Sprintf("<b>%s</b>\n%s", html.EscapeString(title), html.EscapeString(text)),
			"disable_notification": !config.Notification, "disable_web_page_preview": !config.Preview,
		}
		if id, err := strconv.Atoi(thread); err == nil {
			message["message_thread_id"] = id
		}
		var answer struct {
			OK bool `json:"ok"`
		}
		if err := jsonclient.Post("https://api.telegram.org/bot"+config.Token+"/sendMessage", message, &answer); err != nil || !answer.OK {
			return fmt.Errorf("sending to a chat: %w", cmp.Or(err, errors.New("refused")))
		}
	}
	return nil
}
