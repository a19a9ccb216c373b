package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

var (
	errReply     = errors.New("reply of a script has an unexpected form")
	errWrongType = errors.New("WRONGTYPE")
)

// scripts are the compiled Lua scripts. Each file says what its keys,
// arguments and replies are.
type scripts struct {
	meta, canary, reseal                                *redis.Script
	begin, unbegin, apply                               *redis.Script
	expiries, claim, release, heal, touch               *redis.Script
	trim                                                *redis.Script
	permits, unpermit, reclaim, hold                    *redis.Script
	reserve, settle, claimsDone                         *redis.Script
	laneTake, laneAdvance, laneFail, laneLeave, laneEnd *redis.Script
	lanesNotify, lanesAudit                             *redis.Script
	subEnable, subReplay, subLag, subTold, announce     *redis.Script
	subSave, subRemove, subRestore, subStop, subForget  *redis.Script
	subGap, subGapEnd                                   *redis.Script
	slotStart, slotSave                                 *redis.Script
	keyRestore, bury                                    *redis.Script
	ticket, swap                                        *redis.Script
}

// loadScripts reads the scripts. The in-process store does not know the first
// line that declares a script's flags.
func loadScripts(memory bool) (scripts, error) {
	l := loader{memory: memory}
	s := scripts{
		meta: l.load("meta", false), canary: l.load("canary", false), reseal: l.load("reseal", false),
		begin: l.load("begin", true), unbegin: l.load("unbegin", true), apply: l.load("apply", true),
		expiries: l.load("expiries", true), claim: l.load("claim", false), release: l.load("release", true), heal: l.load("heal", false),
		touch:   l.load("touch", true),
		trim:    l.load("trim", false),
		permits: l.load("permits", false), unpermit: l.load("unpermit", false), reclaim: l.load("reclaim", false),
		hold:    l.load("permit_hold", false),
		reserve: l.load("reserve", false), settle: l.load("settle", false), claimsDone: l.load("claims_done", false),
		laneTake: l.behind("lane_head", "lane_take"), laneAdvance: l.behind("lane_head", "lane_advance"),
		laneFail: l.behind("lane_head", "lane_fail"), laneLeave: l.behind("lane_head", "lane_leave"), laneEnd: l.behind("lane_head", "lane_done"),
		lanesNotify: l.behind("lane_head", "lanes_notify"), lanesAudit: l.behind("lane_head", "lanes_audit"),
		subEnable: l.load("sub_enable", false), subReplay: l.behind("lane_head", "sub_replay"),
		subLag: l.behind("lane_head", "sub_lag"), subTold: l.load("sub_told", false), announce: l.load("announce", false),
		subSave: l.load("sub_save", false), subRemove: l.load("sub_remove", false), subRestore: l.load("sub_restore", false),
		subStop: l.load("sub_stop", false), subForget: l.load("sub_forget", false),
		subGap: l.behind("lane_head", "sub_gap"), subGapEnd: l.load("sub_gap_end", false),
		slotStart: l.load("slot_start", false), slotSave: l.load("slot_save", false),
		keyRestore: l.load("key_restore", false), bury: l.load("bury", false),
		ticket: l.load("ticket", false),
		swap:   l.load("swap", false),
	}
	return s, l.err
}

type loader struct {
	memory bool
	err    error
}

// load reads one script, with the prelude of records behind its first line if
// it asks for that.
func (l *loader) load(name string, prelude bool) *redis.Script {
	if prelude {
		return l.behind("head", name)
	}
	return l.behind("", name)
}

// behind reads one script, with a prelude behind its first line unless that is
// "".
func (l *loader) behind(prelude, name string) *redis.Script {
	flags, body, ok := strings.Cut(l.read(name), "\n")
	if !ok || !strings.HasPrefix(flags, "#!lua") {
		l.err = errors.Join(l.err, fmt.Errorf("script %s does not begin with #!lua", name))
	}
	text := body
	if prelude != "" {
		text = l.read(prelude) + body
	}
	if !l.memory {
		text = flags + "\n" + text
	}
	return redis.NewScript(text)
}

func (l *loader) read(name string) string {
	text, err := luaFiles.ReadFile("lua/" + name + ".lua")
	l.err = errors.Join(l.err, err)
	return string(text)
}

// run runs a script. It is sent by its hash, and in full where Redis does not
// know it (any more).
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	return s.runWith(ctx, s.client, script, keys, args...)
}

func (s *Store) runWith(ctx context.Context, client redis.Scripter, script *redis.Script, keys []string, args ...any) (any, error) {
	reply, err := script.Run(ctx, client, keys, args...).Result()
	if err != nil {
		return nil, s.explain(ctx, err, keys...)
	}
	return reply, nil
}

// runInt runs a script that replies one number.
func (s *Store) runInt(ctx context.Context, script *redis.Script, keys []string, args ...any) (int64, error) {
	reply, err := s.run(ctx, script, keys, args...)
	if err != nil {
		return 0, err
	}
	n, ok := reply.(int64)
	if !ok {
		return 0, errReply
	}
	return n, nil
}

// runList runs a script that replies a list.
func (s *Store) runList(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]any, error) {
	return list(s.run(ctx, script, keys, args...))
}

// runListOnce is runList for what its caller, who has to know how often, sends
// again himself.
func (s *Store) runListOnce(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]any, error) {
	return list(s.runWith(ctx, once{s.client}, script, keys, args...))
}

// list expects a reply to be one.
func list(reply any, err error) ([]any, error) {
	if err != nil {
		return nil, err
	}
	items, ok := reply.([]any)
	if !ok {
		return nil, errReply
	}
	return items, nil
}

// explain finds out which of the keys is not what refreshd keeps there, if
// that is what err is about. keys that do not exist are in order.
func (s *Store) explain(ctx context.Context, err error, keys ...string) error {
	if !isWrongType(err) {
		return err
	}
	pipe := s.client.Pipeline()
	types := make([]*redis.StatusCmd, len(keys))
	for i, key := range keys {
		types[i] = pipe.Type(ctx, key)
	}
	if _, execErr := pipe.Exec(ctx); execErr != nil {
		return errors.Join(err, execErr)
	}
	for i, key := range keys {
		if got, want := types[i].Val(), wantType(key); got != "none" && got != want {
			return &WrongTypeError{Key: key, Got: got, Want: want}
		}
	}
	return err
}

// isWrongType reports whether err is Redis's complaint about a key's type. A
// script's own error has it somewhere in its text.
func isWrongType(err error) bool { return strings.Contains(err.Error(), errWrongType.Error()) }

// text returns a bulk string of a reply; what is missing is empty.
func text(v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	return s
}

// pairs reads a list of names and values.
func pairs(v any) (map[string]string, error) {
	list, ok := v.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, errReply
	}
	m := make(map[string]string, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		m[text(list[i])] = text(list[i+1])
	}
	return m, nil
}
