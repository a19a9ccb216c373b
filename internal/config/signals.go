package config

import (
	"fmt"
	"strings"

	"github.com/refreshd/refreshd/internal/webaddr"
)

// FormatCAEP is the format of a subscription that gets Security Event Tokens.
const FormatCAEP = "caep"

// The ways in which Security Event Tokens get to their receivers.
const (
	DeliveryPush = "push" // RFC 8935
	DeliveryPoll = "poll" // RFC 8936
)

// checkSSF looks at the issuer of Security Event Tokens: what its URL has beside
// the host would move where receivers look for its configuration (SSF 1.0,
// section 7.2).
func (l *loader) checkSSF() {
	raw := l.cfg.SSF.Issuer
	if raw == "" {
		return
	}
	if err := checkIssuer(raw); err != nil {
		l.refuse("ssf.issuer", "%v", err)
	}
}

func checkIssuer(raw string) error {
	u, err := webaddr.ParseHTTP(raw)
	switch {
	case err != nil:
		return err
	case u.Scheme == "http" && !webaddr.IsLoopback(u.Hostname()):
		return fmt.Errorf("%s is not encrypted, so anyone on the way could give receivers other keys; use https:// (http:// is for loopback only)", u.Redacted())
	case u.Path != "" || u.RawQuery != "" || strings.HasSuffix(raw, "?"):
		return fmt.Errorf("%s has more than a host; write https://host, as the API is reached from outside", u.Redacted())
	}
	return nil
}

// checkStream looks at a subscription of format caep.
func (l *loader) checkStream(key string, s Subscription) {
	if l.cfg.SSF.Issuer == "" && l.readable("ssf", "ssf.issuer") {
		l.refuse(key+".format", "security event tokens are signed in the name of an issuer, and ssf.issuer is empty; set it to https://host, as the API is reached from outside")
	}
	if s.Audience == "" {
		l.refuse(key+".audience", "it is missing; write what the receiver calls itself, most often its URL")
	}
	if !s.Secret.IsZero() {
		l.refuse(key+".secret", "security event tokens are signed with a key of refreshd's own; remove it, or set bearer to what the receiver wants")
	}
	switch s.Delivery {
	case DeliveryPush:
		if s.URL == "" {
			l.refuse(key+".url", "it is missing; write https://…")
		} else if err := webaddr.CheckReceiver(s.URL, l.cfg.Network.Allow); err != nil {
			l.refuse(key+".url", "%v", err)
		}
	case DeliveryPoll:
		if s.URL != "" {
			l.refuse(key+".url", "a receiver that polls is not called; remove it, or write delivery: push")
		}
		if !s.Bearer.IsZero() {
			l.refuse(key+".bearer", "a receiver that polls is not called; remove it, and give the receiver an API key with the scope event:read")
		}
	case "":
		l.refuse(key+".delivery", "it is missing; write push or poll")
	}
}

// checkNoStream refuses what means something to format caep alone.
func (l *loader) checkNoStream(key string, s Subscription) {
	for name, set := range map[string]bool{"delivery": s.Delivery != "", "bearer": !s.Bearer.IsZero(), "audience": s.Audience != ""} {
		if set {
			l.refuse(key+"."+name, "it is for format caep; remove it, or write format: caep")
		}
	}
}
