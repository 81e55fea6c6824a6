"""Tables and queries like TPC-H's, made by SQL alone: the same shapes and selectivities, other values. Not TPC-H: no figure of it
may be compared with published ones.
"""

#: In the order of creation; {orders} and so on are numbers of rows. Chances come from a hash of the key and a number for the column.
TABLES = {
    "region": ("r_regionkey integer PRIMARY KEY, r_name text NOT NULL",
               "SELECT i, (ARRAY['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST'])[i + 1] FROM generate_series(0, 4) i"),
    "nation": ("n_nationkey integer PRIMARY KEY, n_name text NOT NULL, n_regionkey integer NOT NULL",
               "SELECT i, 'NATION ' || i, i % 5 FROM generate_series(0, 24) i"),
    "supplier": ("s_suppkey integer PRIMARY KEY, s_name text NOT NULL, s_nationkey integer NOT NULL, s_acctbal numeric(15,2) NOT NULL",
                 "SELECT i, 'Supplier#' || lpad(i::text, 9, '0'), chance(i, 1, 25), chance(i, 2, 1000000) / 100.0 "
                 "FROM generate_series(1, {supplier}) i"),
    "customer": ("c_custkey integer PRIMARY KEY, c_name text NOT NULL, c_address text NOT NULL, c_nationkey integer NOT NULL, "
                 "c_phone text NOT NULL, c_acctbal numeric(15,2) NOT NULL, c_mktsegment text NOT NULL",
                 "SELECT i, 'Customer#' || lpad(i::text, 9, '0'), md5(i::text), chance(i, 3, 25), '25-' || chance(i, 4, 10000000), "
                 "chance(i, 5, 1000000) / 100.0, "
                 "(ARRAY['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'HOUSEHOLD', 'MACHINERY'])[1 + chance(i, 6, 5)] "
                 "FROM generate_series(1, {customer}) i"),
    "part": ("p_partkey integer PRIMARY KEY, p_name text NOT NULL, p_brand text NOT NULL, p_type text NOT NULL, "
             "p_size integer NOT NULL, p_container text NOT NULL, p_retailprice numeric(15,2) NOT NULL",
             "SELECT i, 'part ' || md5(i::text), 'Brand#' || 1 + chance(i, 7, 5) || 1 + chance(i, 8, 5), "
             "(ARRAY['STANDARD', 'SMALL', 'MEDIUM', 'LARGE', 'ECONOMY', 'PROMO'])[1 + chance(i, 9, 6)] || "
             "(ARRAY[' ANODIZED', ' BURNISHED', ' PLATED', ' POLISHED', ' BRUSHED'])[1 + chance(i, 10, 5)], 1 + chance(i, 11, 50), "
             "(ARRAY['SM CASE', 'MED BAG', 'LG BOX', 'JUMBO JAR', 'WRAP PACK'])[1 + chance(i, 12, 5)], 900 + i % 1000 "
             "FROM generate_series(1, {part}) i"),
    "orders": ("o_orderkey bigint PRIMARY KEY, o_custkey integer NOT NULL, o_orderstatus text NOT NULL, "
               "o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority text NOT NULL, "
               "o_shippriority integer NOT NULL, o_comment text NOT NULL",
               "SELECT i, 1 + chance(i, 13, {customer}), (ARRAY['O', 'F', 'P'])[1 + chance(i, 14, 3)], "
               "1000 + chance(i, 15, 50000000) / 100.0, date '1992-01-01' + chance(i, 16, 2405), "
               "(ARRAY['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW'])[1 + chance(i, 17, 5)], 0, "
               "'comment ' || md5(i::text) FROM generate_series(1, {orders}) i"),
    "lineitem": ("l_orderkey bigint NOT NULL, l_partkey integer NOT NULL, l_suppkey integer NOT NULL, l_linenumber integer NOT NULL, "
                 "l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, "
                 "l_tax numeric(15,2) NOT NULL, l_returnflag text NOT NULL, l_linestatus text NOT NULL, l_shipdate date NOT NULL, "
                 "l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct text NOT NULL, l_shipmode text NOT NULL, "
                 "l_comment text NOT NULL",
                 "SELECT o, 1 + chance(k, 18, {part}), 1 + chance(k, 19, {supplier}), n, 1 + chance(k, 20, 50), "
                 "1000 + chance(k, 21, 9000000) / 100.0, chance(k, 22, 11) / 100.0, chance(k, 23, 9) / 100.0, "
                 "CASE WHEN shipped > date '1995-06-17' THEN 'N' WHEN chance(k, 24, 2) = 0 THEN 'R' ELSE 'A' END, "
                 "CASE WHEN shipped > date '1995-06-17' THEN 'O' ELSE 'F' END, shipped, ordered + 30 + chance(k, 25, 60), "
                 "shipped + 1 + chance(k, 26, 30), "
                 "(ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + chance(k, 27, 4)], "
                 "(ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[1 + chance(k, 28, 7)], 'line ' || k "
                 "FROM (SELECT o_orderkey AS o, n, o_orderkey * 8 + n AS k, o_orderdate AS ordered, "
                 "o_orderdate + 1 + chance(o_orderkey * 8 + n, 29, 121) AS shipped "
                 "FROM orders, generate_series(1, 7) n WHERE n <= 1 + chance(o_orderkey, 30, 7)) lines"),
}

CHANCE = ("CREATE FUNCTION chance(key bigint, seed integer, below bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS "
          "$$ SELECT ((hashint8extended(key, seed) & 9223372036854775807) % below)::integer $$")

#: What happens to the tables after they are loaded, so that they are live ones.
CHANGES = (
    "DELETE FROM lineitem WHERE l_orderkey % 97 = 3",
    "DELETE FROM orders WHERE o_orderkey % 97 = 3",
    "UPDATE lineitem SET l_discount = 0.05 WHERE l_orderkey % 211 = 5",
    "UPDATE orders SET o_orderstatus = 'F', o_totalprice = o_totalprice + 1 WHERE o_orderkey % 101 = 7",
    "UPDATE customer SET c_acctbal = c_acctbal - 1 WHERE c_custkey % 10 = 0",
)

REVENUE = "sum(l_extendedprice * (1 - l_discount))"

#: After TPC-H's queries of the same numbers. Their results are whole: no order is left open, but for the last columns' sake.
QUERIES = {
    "Q1": "SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), "
          f"{REVENUE}, sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), count(*) "
          "FROM lineitem WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus ORDER BY 1, 2",
    "Q3": f"SELECT l_orderkey, {REVENUE} AS revenue, o_orderdate, o_shippriority FROM customer, orders, lineitem "
          "WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate < DATE '1995-03-15' "
          "AND l_shipdate > DATE '1995-03-15' GROUP BY l_orderkey, o_orderdate, o_shippriority "
          "ORDER BY revenue DESC, o_orderdate, l_orderkey LIMIT 10",
    "Q4": "SELECT o_orderpriority, count(*) FROM orders WHERE o_orderdate >= DATE '1993-07-01' AND o_orderdate < DATE '1993-10-01' "
          "AND EXISTS (SELECT 1 FROM lineitem WHERE l_orderkey = o_orderkey AND l_commitdate < l_receiptdate) "
          "GROUP BY o_orderpriority ORDER BY 1",
    "Q5": f"SELECT n_name, {REVENUE} AS revenue FROM customer, orders, lineitem, supplier, nation, region "
          "WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey AND c_nationkey = s_nationkey "
          "AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'ASIA' AND o_orderdate >= DATE '1994-01-01' "
          "AND o_orderdate < DATE '1995-01-01' GROUP BY n_name ORDER BY revenue DESC, n_name",
    "Q6": "SELECT sum(l_extendedprice * l_discount) FROM lineitem WHERE l_shipdate >= DATE '1994-01-01' "
          "AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    "Q10": f"SELECT c_custkey, c_name, {REVENUE} AS revenue, c_acctbal, n_name FROM customer, orders, lineitem, nation "
           "WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate >= DATE '1993-10-01' "
           "AND o_orderdate < DATE '1994-01-01' AND l_returnflag = 'R' AND c_nationkey = n_nationkey "
           "GROUP BY c_custkey, c_name, c_acctbal, n_name ORDER BY revenue DESC, c_custkey LIMIT 20",
    "Q12": "SELECT l_shipmode, sum(CASE WHEN o_orderpriority IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END), "
           "sum(CASE WHEN o_orderpriority NOT IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) FROM orders, lineitem "
           "WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP') AND l_commitdate < l_receiptdate "
           "AND l_shipdate < l_commitdate AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01' "
           "GROUP BY l_shipmode ORDER BY 1",
    "Q14": "SELECT sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END), "
           f"{REVENUE} FROM lineitem, part WHERE l_partkey = p_partkey "
           "AND l_shipdate >= DATE '1995-09-01' AND l_shipdate < DATE '1995-10-01'",
    "Q18": "SELECT c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity) FROM customer, orders, lineitem "
           "WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY l_orderkey HAVING sum(l_quantity) > 270) "
           "AND c_custkey = o_custkey AND o_orderkey = l_orderkey GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice "
           "ORDER BY o_totalprice DESC, o_orderdate, o_orderkey LIMIT 100",
    "Q19": f"SELECT {REVENUE} FROM lineitem, part WHERE p_partkey = l_partkey AND l_shipinstruct = 'DELIVER IN PERSON' "
           "AND l_shipmode IN ('AIR', 'REG AIR') AND ((p_brand = 'Brand#12' AND p_container = 'SM CASE' AND l_quantity BETWEEN 1 AND 11 "
           "AND p_size BETWEEN 1 AND 5) OR (p_brand = 'Brand#23' AND p_container = 'MED BAG' AND l_quantity BETWEEN 10 AND 20 "
           "AND p_size BETWEEN 1 AND 10) OR (p_brand = 'Brand#34' AND p_container = 'LG BOX' AND l_quantity BETWEEN 20 AND 30 "
           "AND p_size BETWEEN 1 AND 15))",
}


def counts(scale_factor):
    """Rows of the tables whose number grows."""
    sizes = {"supplier": 10_000, "customer": 150_000, "part": 200_000, "orders": 1_500_000}
    return {name: max(10, int(size * scale_factor)) for name, size in sizes.items()}
