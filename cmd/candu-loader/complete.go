package main

import (
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader/config"
)

// completeNicknames gives cmd and its children, where their usage says that they take
// nicknames, the shell's completion of them.
func (a *app) completeNicknames(cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		a.completeNicknames(child)
	}
	if !strings.Contains(cmd.Use, "NICKNAME") || cmd.ValidArgsFunction != nil {
		return
	}
	several := strings.Contains(cmd.Use, "NICKNAME...")
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.nicknames(args, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// nicknames returns those of the config that begin as begun does and are not there
// yet, with the schema as description. It reads no more of the config than that: secrets
// are seldom in the environment of the one who types. Whatever is wrong, it says nothing.
func (a *app) nicknames(given []string, begun string) []cobra.Completion {
	var file struct {
		Sources []struct{ Nickname, Schema string }
	}
	text, err := os.ReadFile(a.configPath)
	if err != nil || yaml.Unmarshal(text, &file) != nil {
		return nil
	}
	var found []cobra.Completion
	for _, src := range file.Sources {
		if src.Schema == "" {
			src.Schema, _ = config.SchemaName(src.Nickname)
		}
		if strings.HasPrefix(strings.ToLower(src.Nickname), strings.ToLower(begun)) && !slices.Contains(given, src.Nickname) {
			found = append(found, cobra.CompletionWithDesc(src.Nickname, "schema "+src.Schema))
		}
	}
	return found
}
