"""Tiny files in the formats of the public sets, written by hand."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CLIP_DIM = 768


def write_esci(folder: Path) -> Path:
    """Five products in two locales; the second query is not of the small version."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [  # query_id, query, product, locale, label, small, split
        (1, "red  shoe", "B01", "us", "E", 1, "train"),
        (1, "red  shoe", "B02", "us", "I", 1, "train"),
        (2, "oak desk", "B03", "us", "S", 0, "test"),
        (2, "oak desk", "B02", "us", "C", 0, "test"),
        (3, "zapato rojo", "B01", "es", "E", 1, "test"),
    ]
    examples = [
        {
            "example_id": number,
            "query": query,
            "query_id": query_id,
            "product_id": product,
            "product_locale": locale,
            "esci_label": label,
            "small_version": small,
            "large_version": 1,
            "split": split,
        }
        for number, (query_id, query, product, locale, label, small, split) in enumerate(pairs)
    ]
    pq.write_table(
        pa.Table.from_pylist(examples), folder / "shopping_queries_dataset_examples.parquet"
    )
    products = [
        {
            "product_id": product,
            "product_title": title,
            "product_description": description,
            "product_bullet_point": bullets,
            "product_brand": brand,
            "product_color": color,
            "product_locale": locale,
        }
        for product, title, description, bullets, brand, color, locale in [
            (
                "B01",
                "Shoe &amp; box",
                "<p>A <b>red</b> shoe</p>",
                "light\nsoft",
                "Ona",
                "Red",
                "us",
            ),
            ("B02", "Lamp", None, None, None, None, "us"),
            ("B03", "Desk", None, "oak", "Bolt", "", "us"),
            ("B01", "Zapato", None, None, "Ona", None, "es"),
        ]
    ]
    pq.write_table(
        pa.Table.from_pylist(products), folder / "shopping_queries_dataset_products.parquet"
    )
    return folder


def write_sqid(folder: Path) -> Path:
    """ESCI, and vectors of B01 (both) and B02 (text alone)."""
    write_esci(folder)
    rows = [
        {
            "product_id": product,
            "clip_text_features": [text] * CLIP_DIM,
            "clip_image_features": None if image is None else [image] * CLIP_DIM,
        }
        for product, text, image in [("B01", 1.0, 2.0), ("B02", 3.0, None), ("B99", 4.0, 4.0)]
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "product_features.parquet")
    return folder


def write_wands(folder: Path) -> Path:
    """Three products, two queries; a description with a quoted line break and tab."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "product.csv").write_text(
        "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\t"
        "product_features\trating_count\taverage_rating\treview_count\n"
        "0\tsolid oak bed\tBeds\tFurniture / Bedroom / Beds\tgood , deep sleep\t"
        "overallwidth:54|color : gray|material:oak\t15.0\t4.5\t15.0\n"
        '1\tlamp\tTable Lamps|Lamps\t\t"a ""soft""\tlight\nfor two"\t\t\t\t\n'
        "2\trug\tArea Rugs\tRugs\t\tpattern:striped\t1.0\t5.0\t1.0\n"
    )
    (folder / "query.csv").write_text(
        "query_id\tquery\tquery_class\n0\toak bed\tBeds\n7\tsoft  lamp\tTable Lamps\n"
    )
    (folder / "label.csv").write_text(
        "id\tquery_id\tproduct_id\tlabel\n"
        "0\t0\t0\tExact\n1\t0\t2\tIrrelevant\n2\t7\t1\tPartial\n3\t7\t77\tExact\n"
    )
    return folder


def write_movielens_csv(folder: Path) -> Path:
    """ml-latest: half stars, a quoted title, a movie without genres."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.csv").write_text(
        "movieId,title,genres\n1,Toy Story (1995),Animation|Children\n"
        '2,"Postino, Il (1994)",Comedy|Romance\n3,Über (1990),(no genres listed)\n',
        encoding="utf-8",
    )
    lines = ["userId,movieId,rating,timestamp"]
    lines += [f"1,{1 + n % 3},{stars},{1000 + n}" for n, stars in enumerate([3.5, 4.0, 5.0, 4.5])]
    lines += ["2,3,5.0,900", "2,1,0.5,800"]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_movielens_dat(folder: Path) -> Path:
    """ml-1m, in Latin-1."""
    folder.mkdir(parents=True, exist_ok=True)
    movies = "1::Toy Story (1995)::Animation|Children's\n2::Misérables, Les (1995)::Drama\n"
    (folder / "movies.dat").write_text(movies, encoding="latin-1")
    (folder / "ratings.dat").write_text("1::1::5::978300760\n1::2::4::978302109\n")
    return folder


def write_movielens_100k(folder: Path) -> Path:
    """ml-100k: ratings in no order; three genres, as marks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "u.genre").write_text("unknown|0\nAction|1\nDrama|2\n\n")
    (folder / "u.item").write_text(
        "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy|0|1|1\n"
        "2|Misérables, Les (1995)|01-Jan-1995|||1|0|0\n",
        encoding="latin-1",
    )
    (folder / "u.data").write_text("2\t1\t5\t881250949\n1\t2\t3\t881250950\n2\t2\t4\t881250948\n")
    return folder


def write_retailrocket(folder: Path) -> Path:
    """Two visitors: one visit of three events, and one event two days later."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 1_433_221_332_117
    (folder / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        f"{start + 120_000},257597,transaction,355908,4000\n"
        f"{start},257597,view,355908,\n"
        f"{start + 60_000},257597,addtocart,248676,\n"
        f"{start + 2 * 86_400_000},257597,view,318965,\n"
        f"{start},992329,view,248676,\n"
    )
    (folder / "item_properties_part1.csv").write_text(
        "timestamp,itemid,property,value\n"
        "1435460400000,355908,categoryid,1338\n"
        "1441508400000,355908,888,1116713 960601 n277.200\n"
        "1435460400000,355908,888,older\n"
    )
    (folder / "item_properties_part2.csv").write_text(
        "timestamp,itemid,property,value\n"
        "1435460400000,99,283,6618 5\n1435460400000,99,790,n1.000\n1435460400000,99,available,1\n"
    )
    (folder / "category_tree.csv").write_text("categoryid,parentid\n1338,1279\n1279,\n5,5\n")
    return folder


def write_hm(folder: Path) -> Path:
    """Two articles, one with a picture; two baskets."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = (
        "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,"
        "graphical_appearance_no,graphical_appearance_name,colour_group_code,colour_group_name,"
        "perceived_colour_value_id,perceived_colour_value_name,perceived_colour_master_id,"
        "perceived_colour_master_name,department_no,department_name,index_code,index_name,"
        "index_group_no,index_group_name,section_no,section_name,garment_group_no,"
        "garment_group_name,detail_desc"
    )
    rest = "4,Dark,5,Black,1676,Jersey Basic,A,Ladieswear,1,Ladieswear,16,Basics,1002,Jersey"
    (folder / "articles.csv").write_text(
        f"{columns}\n"
        f"0108775015,0108775,Strap top,253,Vest top,Upper body,1010016,Solid,9,Black,{rest},"
        '"Jersey top, narrow straps."\n'
        f"0110065001,0110065,OP T-shirt,306,Bra,Underwear,1010016,Solid,9,Black,{rest},\n"
    )
    (folder / "transactions_train.csv").write_text(
        "t_dat,customer_id,article_id,price,sales_channel_id\n"
        "2018-09-20,000058a1,0108775015,0.0508,2\n2018-09-20,000058a1,0108775015,0.0508,2\n"
        "2018-09-20,000058a1,0110065001,0.0304,2\n2018-09-20,00007d2d,0108775015,0.0508,2\n"
        "2018-09-21,00007d2d,0110065001,0.0304,2\n"
    )
    picture = folder / "images" / "010" / "0108775015.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"no picture, only a name")
    return folder
