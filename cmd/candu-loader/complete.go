package main

import (
	"os"
	"regexp"
	"slices"
	"strings"

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
// yet, with the schema as description. Whatever is wrong, it says nothing: the user is typing.
func (a *app) nicknames(given []string, begun string) []cobra.Completion {
	text, err := os.ReadFile(a.configPath)
	if err != nil {
		return nil
	}
	cfg, err := config.Parse(a.configPath, text, standIn(text))
	if err != nil {
		return nil
	}
	var found []cobra.Completion
	for _, src := range cfg.Sources {
		if strings.HasPrefix(strings.ToLower(src.Nickname), strings.ToLower(begun)) && !slices.Contains(given, src.Nickname) {
			found = append(found, cobra.CompletionWithDesc(src.Nickname, "schema "+src.Schema))
		}
	}
	return found
}

// variable matches a variable without a default.
var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// standIn looks variables up for a completion: secrets are seldom in the environment
// of the one who types, so one that must be set and is not gets a value which does for a
// URL and for a key. Nothing connects to it.
func standIn(text []byte) func(name string) (string, bool) {
	needed := map[string]bool{}
	for _, match := range variable.FindAllSubmatch(text, -1) {
		needed[string(match[1])] = true
	}
	return func(name string) (string, bool) {
		if value, ok := os.LookupEnv(name); ok || !needed[name] {
			return value, ok
		}
		return "postgres://localhost/completion", true
	}
}
