package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// The formats of subscriptions whose events go to a server of the operator's.
const (
	FormatJetStream = "jetstream"
	FormatKafka     = "kafka"
)

// SinkTLS says how the server of a sink is spoken to.
type SinkTLS struct {
	Enabled bool   `yaml:"enabled"`
	CAFile  string `path:"yes" yaml:"ca_file"` // trusted in place of the system's; empty is these
	Cert    string `path:"yes" yaml:"cert"`
	Key     string `path:"yes" yaml:"key"`
}

// SASL says how brokers are logged in to; an empty mechanism is not at all.
type SASL struct {
	Mechanism string            `oneof:"plain scram-sha-256 scram-sha-512" yaml:"mechanism"`
	Username  string            `yaml:"username"`
	Password  credential.Secret `yaml:"password"`
}

// IsSink reports whether its events go to a server of the operator's.
func (s *Subscription) IsSink() bool { return s.Format == FormatJetStream || s.Format == FormatKafka }

// checkSink looks at what belongs to sinks alone, and refuses it elsewhere.
func (l *loader) checkSink(key string, s Subscription) {
	jetStream, kafka := s.Format == FormatJetStream, s.Format == FormatKafka
	for _, only := range []struct {
		name         string
		set, allowed bool
		formats      string
	}{
		{"subject", s.Subject != "", jetStream, FormatJetStream},
		{"credentials", s.Credentials != "", jetStream, FormatJetStream},
		{"brokers", len(s.Brokers) > 0, kafka, FormatKafka},
		{"topic", s.Topic != "", kafka, FormatKafka},
		{"sasl", s.SASL != (SASL{}), kafka, FormatKafka},
		{"tls", s.TLS != (SinkTLS{}), jetStream || kafka, FormatJetStream + " and " + FormatKafka},
		{"url", s.URL != "", !kafka, "webhook and " + FormatJetStream},
		{"secret", !s.Secret.IsZero(), !jetStream && !kafka, "webhook"},
	} {
		if only.set && !only.allowed {
			l.refuse(key+"."+only.name, "it is for format %s; remove it", only.formats)
		}
	}
	switch {
	case jetStream:
		if err := checkNATS(s.URL); err != nil {
			l.refuse(key+".url", "%v", err)
		}
		if err := checkSubject(s.Subject); err != nil {
			l.refuse(key+".subject", "%v", err)
		}
	case kafka:
		l.checkKafka(key, s)
	}
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		l.refuse(key+".tls", "cert and key belong together; set both or neither")
	}
	if jetStream || kafka {
		l.checkSinkFiles(key, s)
	}
	byURL := jetStream && strings.Contains(s.URL, "tls://")
	if s.TLS != (SinkTLS{}) && !s.TLS.Enabled && !byURL {
		l.refuse(key+".tls.enabled", "it is not true, so that the other keys mean nothing; set it, or remove tls")
	}
}

// checkSinkFiles looks at the files that a sink is connected with.
func (l *loader) checkSinkFiles(key string, s Subscription) {
	l.checkCA(key+".tls.ca_file", s.TLS.CAFile)
	for name, path := range map[string]string{"credentials": s.Credentials, "tls.cert": s.TLS.Cert, "tls.key": s.TLS.Key} {
		if path == "" {
			continue
		}
		l.files = append(l.files, path)
		if _, err := readFile(path); err != nil {
			l.refuse(key+"."+name, "%v", withRemedy(err, "name the file that is meant, or remove "+name))
		}
	}
}

func (l *loader) checkKafka(key string, s Subscription) {
	if len(s.Brokers) == 0 {
		l.refuse(key+".brokers", "it is missing; write [host:9092]")
	}
	for i, broker := range s.Brokers {
		if err := checkServer(broker); err != nil {
			l.refuse(key+".brokers["+strconv.Itoa(i)+"]", "%v", err)
		}
	}
	if !isTopic(s.Topic) {
		l.refuse(key+".topic", "%q is not a topic; use 1 to 249 characters of A-Z, a-z, 0-9, dot, _ and -", s.Topic)
	}
	if s.SASL == (SASL{}) {
		return
	}
	if s.SASL.Mechanism == "" || s.SASL.Username == "" || s.SASL.Password.IsZero() && l.readable(key+".sasl.password") {
		l.refuse(key+".sasl", "mechanism, username and password belong together; set all three or none")
	}
	if s.SASL.Mechanism == "plain" && !s.TLS.Enabled {
		l.refuse(key+".sasl.mechanism", "plain sends the password as it is, and tls.enabled is not true; set that, or use scram-sha-512")
	}
}

// isTopic holds a name against what Kafka takes for a topic.
func isTopic(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return s != "" && len(s) <= 249 && s != "." && s != ".." && strings.Trim(s, letters) == ""
}

// checkNATS looks at the URLs of a NATS cluster's servers.
func checkNATS(list string) error {
	if list == "" {
		return errors.New("it is missing; write nats://host:4222 or tls://host:4222")
	}
	for raw := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(raw)
		switch {
		case err != nil:
			return errors.New("it cannot be read as a URL; write nats://host:4222 or tls://host:4222")
		case u.Scheme != "nats" && u.Scheme != "tls":
			return fmt.Errorf("the scheme %q is not for NATS; write nats://host:4222 or tls://host:4222", u.Scheme)
		case u.User != nil:
			return errors.New("what stands before the @ is a secret, which does not belong into a URL; use credentials, or tls.cert and tls.key")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return errors.New("it has more than a host and a port; write nats://host:4222")
		case u.Port() == "":
			return fmt.Errorf("%s has no port; write %s://%s:4222", u.Host, u.Scheme, u.Host)
		}
		if err := checkServer(u.Host); err != nil {
			return err
		}
	}
	return nil
}

// checkServer looks at host:port of a server of the operator's. As with
// providers, only link-local addresses are refused here; what a name leads to
// is looked at as it is dialled.
func checkServer(server string) error {
	host, port, err := net.SplitHostPort(server)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || host == "" || number == 0 || strings.ContainsAny(host, " /@?#%") {
		return fmt.Errorf("%q is not host:port; write a name or an address, and a port from 1 to 65535", server)
	}
	if addr, err := netip.ParseAddr(host); err == nil && (addr.Unmap().IsLinkLocalUnicast() || addr.IsLinkLocalMulticast()) {
		return fmt.Errorf("%s is link-local, where clouds serve the machine's own credentials; name another address", host)
	}
	return nil
}

// checkSubject looks at the template of a subject.
func checkSubject(template string) error {
	const example = "; write one like refreshd.{provider}.{type}"
	subject := strings.NewReplacer("{provider}", "p", "{type}", "t", "{credential}", "c").Replace(template)
	switch {
	case template == "":
		return errors.New("it is missing" + example)
	case strings.ContainsAny(subject, "{}"):
		return errors.New("it has fields other than {provider}, {type} and {credential}" + example)
	case strings.ContainsFunc(subject, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '*' || c == '>' }) || subject[0] == '$':
		return errors.New("it has a wildcard, a blank or a letter beyond ASCII, or begins with $" + example)
	case slices.Contains(strings.Split(subject, "."), ""):
		return errors.New("it has an empty part" + example)
	}
	return nil
}
