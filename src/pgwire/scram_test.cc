#include "pgwire/scram.h"

#include <gtest/gtest.h>

#include "pgwire/tls.h"

namespace tide::pgwire {
namespace {

/// The exchange printed in RFC 7677, section 3.
ScramServer rfc_server() {
  ScramServer::Options options;
  options.verifier =
      *ScramVerifier::make("pencil", *decode_base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
  options.nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  return ScramServer(options);
}
constexpr std::string_view kFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kFinal =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

TEST(ScramServer, SpeaksTheExchangeOfTheRfc) {
  ScramServer server = rfc_server();
  EXPECT_EQ(*server.first(kScramSha256, kFirst),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,"
            "i=4096");
  EXPECT_EQ(*server.final(kFinal), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

TEST(ScramServer, RefusesAWrongProof) {
  ScramServer server = rfc_server();
  ASSERT_TRUE(server.first(kScramSha256, kFirst).ok());
  std::string wrong(kFinal);
  wrong[wrong.size() - 5] = wrong[wrong.size() - 5] == 'A' ? 'B' : 'A';
  EXPECT_EQ(server.final(wrong).status().code(), Code::kDenied);
}

TEST(ScramServer, RefusesMalformedMessages) {
  for (std::string_view first : {"", "n", "n,", "n,,", "n,,n=user", "n,a=x,n=u,r=abc", "x,,n=u,r=a",
                                 "p=tls-unique,,n=u,r=a", "n,,m=ext,n=u,r=a", "n,,n=u,r="}) {
    ScramServer server = rfc_server();
    EXPECT_EQ(server.first(kScramSha256, first).status().code(), Code::kInvalid) << first;
  }
  for (std::string_view final :
       {"", "c=biws", "c=biws,r=x,p=AAAA", "p=,", ",p=", "c=eSws,r=x,p=y"}) {
    ScramServer server = rfc_server();
    ASSERT_TRUE(server.first(kScramSha256, kFirst).ok());
    EXPECT_FALSE(server.final(final).ok()) << final;
  }
  ScramServer server = rfc_server();
  EXPECT_FALSE(server.final(kFinal).ok());
}

TEST(ScramServer, NoticesThatChannelBindingWasTakenAway) {
  ScramServer::Options options;
  options.verifier = *ScramVerifier::make("pencil", "salt", 4096);
  options.nonce = "n";
  options.certificate_hash = "hash";
  EXPECT_FALSE(ScramServer(options).first(kScramSha256, "y,,n=user,r=abc").ok());
  EXPECT_TRUE(
      ScramServer(options).first(kScramSha256Plus, "p=tls-server-end-point,,n=user,r=abc").ok());
}

TEST(ScramVerifier, IsWhatPostgresqlStores) {
  ScramVerifier made = *ScramVerifier::make("secret", "0123456789abcdef", 4096);
  auto read = ScramVerifier::parse(made.to_string());
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->stored_key, made.stored_key);
  EXPECT_EQ(read->server_key, made.server_key);
  EXPECT_EQ(read->salt, made.salt);
  for (std::string_view wrong : {"", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$4096:x$y:z",
                                 "SCRAM-SHA-256$0:AAAA$AAAA:AAAA"}) {
    EXPECT_FALSE(ScramVerifier::parse(wrong).ok()) << wrong;
  }
}

TEST(ScramVerifier, DoomedOnesKeepTheirSalt) {
  EXPECT_EQ(ScramVerifier::doomed("s", "ada")->salt, ScramVerifier::doomed("s", "ada")->salt);
  EXPECT_NE(ScramVerifier::doomed("s", "ada")->salt, ScramVerifier::doomed("s", "bob")->salt);
}

TEST(Tls, TakesItsOwnCertificateAndRefusesPlainText) {
  auto identity = TlsIdentity::make_self_signed();
  ASSERT_TRUE(identity.ok()) << identity.status().to_string();
  auto context = TlsContext::make(*identity);
  ASSERT_TRUE(context.ok()) << context.status().to_string();
  EXPECT_EQ((*context)->certificate_hash().size(), 32U);
  auto session = (*context)->accept();
  ASSERT_TRUE(session.ok());
  ASSERT_TRUE((*session)->feed("this is no TLS record at all").ok());
  EXPECT_EQ((*session)->read().status().code(), Code::kInvalid);
  EXPECT_FALSE(TlsContext::make({"no", "pem"}).ok());
}

}  // namespace
}  // namespace tide::pgwire
