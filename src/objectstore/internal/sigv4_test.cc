#include "objectstore/internal/sigv4.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "objectstore/internal/s3_xml.h"
#include "objectstore/internal/url.h"

namespace tide::objectstore::internal {
namespace {

// The examples of "Authenticating Requests: Using the Authorization Header" in Amazon's S3 manual.
const S3Credentials kCredentials{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                 ""};
constexpr char kEmptyHash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

SigningInput s3_example() {
  SigningInput input;
  input.method = "GET";
  input.encoded_path = "/";
  input.headers = {{"host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", "20130524T000000Z"}};
  input.payload_hash = kEmptyHash;
  input.timestamp = "20130524T000000Z";
  input.region = "us-east-1";
  return input;
}

std::string signature_of(SigningInput input) {
  input.headers.emplace_back("x-amz-content-sha256", input.payload_hash);
  std::string header = authorization(input, kCredentials);
  return header.substr(header.find("Signature=") + 10);
}

TEST(SigV4Test, SignsAmazonsGetObjectExample) {
  SigningInput input = s3_example();
  input.encoded_path = "/test.txt";
  input.headers.emplace_back("range", "bytes=0-9");
  EXPECT_EQ(signature_of(input),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4Test, SignsAmazonsPutObjectExample) {
  SigningInput input = s3_example();
  input.method = "PUT";
  input.encoded_path = "/" + uri_encode("test$file.text", true);
  input.headers.emplace_back("date", "Fri, 24 May 2013 00:00:00 GMT");
  input.headers.emplace_back("x-amz-storage-class", "REDUCED_REDUNDANCY");
  input.payload_hash = sha256_hex(as_bytes("Welcome to Amazon S3."));
  EXPECT_EQ(signature_of(input),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(SigV4Test, SignsAmazonsLifecycleExample) {
  SigningInput input = s3_example();
  input.query = {{"lifecycle", ""}};
  EXPECT_EQ(signature_of(input),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(SigV4Test, SignsAmazonsListObjectsExample) {
  SigningInput input = s3_example();
  input.query = {{"prefix", "J"}, {"max-keys", "2"}};
  EXPECT_EQ(signature_of(input),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4Test, DerivesAmazonsExampleKey) {
  std::string key =
      signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam");
  std::string shown;
  for (unsigned char c : key) shown += fmt::format("{:02x}", c);
  EXPECT_EQ(shown, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

TEST(SigV4Test, SignsTheTestSuitesVanillaRequest) {
  SigningInput input;
  input.method = "GET";
  input.encoded_path = "/";
  input.headers = {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}};
  input.payload_hash = kEmptyHash;
  input.timestamp = "20150830T123600Z";
  input.region = "us-east-1";
  input.service = "service";
  EXPECT_EQ(authorization(input, {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""}),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
            "SignedHeaders=host;x-amz-date,"
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(SigV4Test, CanonicalQuerySortsAndEncodes) {
  EXPECT_EQ(canonical_query({{"b", "1 2"}, {"a", "x+y=z"}, {"a", "/"}, {"ä", "~"}}),
            "%C3%A4=~&a=%2F&a=x%2By%3Dz&b=1%202");
}

TEST(UrlTest, EncodesWhatSigV4WantsAndDecodesIt) {
  std::string key = "a b/c+d=e&f?g#h%/ü~-_.!*'()";
  std::string encoded = uri_encode(key, true);
  EXPECT_EQ(encoded, "a%20b/c%2Bd%3De%26f%3Fg%23h%25/%C3%BC~-_.%21%2A%27%28%29");
  EXPECT_EQ(uri_decode(encoded, false).value(), key);
  EXPECT_EQ(uri_decode("a+b", true).value(), "a b");
  EXPECT_FALSE(uri_decode("%4", false).ok());
  EXPECT_FALSE(uri_decode("%zz", false).ok());
  EXPECT_EQ(uri_decode("%41", false).value(), "A");
}

TEST(UrlTest, ParsesStoreUrls) {
  StoreUrl file = parse_url("file:///srv/my%20store/").value();
  EXPECT_EQ(file.path, "/srv/my store");
  StoreUrl s3 =
      parse_url("s3://lake/a/b/?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=eu-central-1")
          .value();
  EXPECT_EQ(s3.bucket, "lake");
  EXPECT_EQ(s3.prefix, "a/b");
  EXPECT_EQ(s3.endpoint, "http://127.0.0.1:9000");
  EXPECT_EQ(s3.region, "eu-central-1");
  EXPECT_TRUE(s3.conditional_put);
  EXPECT_EQ(parse_url("s3://lake?endpoint=http://h:1&conditional_put=off").value().conditional_put,
            false);
  for (const char* bad :
       {"", "srv/x", "file://srv", "gs://x", "s3://", "s3://a", "s3://lake?regoin=x",
        "s3://lake/../x", "file:///x?y=z", "s3://la ke", "s3://lake?conditional_put=maybe"}) {
    Result<StoreUrl> parsed = parse_url(bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.status().code(), Code::kInvalid) << bad;
  }
}

TEST(S3XmlTest, ReadsAListPage) {
  ListPage page =
      parse_list_page(
          "<?xml version=\"1.0\"?>\n<ListBucketResult "
          "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
          "<Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>1&#x2F;x==</"
          "NextContinuationToken>"
          "<Contents><Key>a&amp;b &lt;c&gt; "
          "&#228;</Key><Size>12</Size><ETag>&quot;x&quot;</ETag></Contents>"
          "<Contents><Key><![CDATA[<raw>]]></Key><Size>0</Size><Owner><ID>1</ID></Owner></Contents>"
          "<CommonPrefixes/><!-- note --></ListBucketResult>")
          .value();
  EXPECT_EQ(page.objects, (std::vector<ObjectInfo>{{"a&b <c> ä", 12}, {"<raw>", 0}}));
  EXPECT_EQ(page.next_token, "1/x==");
}

TEST(S3XmlTest, DecodesUrlEncodedKeysOnlyWhenToldSo) {
  constexpr char kPage[] =
      "<ListBucketResult>{}<IsTruncated>false</IsTruncated>"
      "<Contents><Key>a%2Bb+c</Key><Size>1</Size></Contents></ListBucketResult>";
  EXPECT_EQ(parse_list_page(fmt::format(fmt::runtime(kPage), "<EncodingType>url</EncodingType>"))
                .value()
                .objects[0]
                .key,
            "a+b c");
  EXPECT_EQ(parse_list_page(fmt::format(fmt::runtime(kPage), "")).value().objects[0].key,
            "a%2Bb+c");
}

TEST(S3XmlTest, RefusesWhatIsNoListPage) {
  for (const char* bad :
       {"", "hello", "<html></html>", "<ListBucketResult>", "<ListBucketResult></Other>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>&foo;</Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>&#xD800;</Key><Size>1</Size></Contents></"
        "ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult></ListBucketResult>", "<", "<a", "<a><",
        "</a>", "<>"}) {
    Result<ListPage> page = parse_list_page(bad);
    ASSERT_FALSE(page.ok()) << bad;
    EXPECT_EQ(page.status().code(), Code::kCorrupt) << bad;
  }
}

TEST(S3XmlTest, ReadsErrors) {
  S3Error error =
      parse_error("<Error><Code>NoSuchKey</Code><Message>gone &amp; lost</Message></Error>");
  EXPECT_EQ(error.code, "NoSuchKey");
  EXPECT_EQ(error.message, "gone & lost");
  EXPECT_EQ(parse_error("<html>504").code, "");
  EXPECT_EQ(parse_element("<a><b>1</b></a>", "b").value(), "1");
  EXPECT_FALSE(parse_element("<a></a>", "b").ok());
}

}  // namespace
}  // namespace tide::objectstore::internal
